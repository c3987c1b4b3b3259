//! How requests leave the page: each names the person whose page it is, so that what one person typed is never sent as
//! another who has signed in meanwhile in the same browser. For `#[server(client = millstream::requests::Requests)]`.

/// The header that names the person. A server refuses a request whose session is somebody else's.
pub const PERSON_HEADER: &str = "x-millstream-person";

#[cfg(feature = "browser")]
mod gathering;

use crate::error::ApiError;
use leptos::server_fn::client::Client;
use std::future::Future;

/// What the addresses of server functions begin with.
pub const API: &str = "/api/";

/// A client of server functions whose answers are status and text.
pub trait Exchange: Client<ApiError> {
    /// Sends the request to the server function at this path.
    fn exchange(path: &str, request: Self::Request) -> impl Future<Output = Result<(u16, String), ApiError>> + Send;
}

/// The client of server functions.
#[cfg(not(feature = "browser"))]
pub type Requests = leptos::server_fn::client::browser::BrowserClient;

#[cfg(not(feature = "browser"))]
impl Exchange for Requests {
    async fn exchange(_: &str, request: Self::Request) -> Result<(u16, String), ApiError> {
        said::<Self>(request).await
    }
}

async fn said<Browser: Client<ApiError>>(request: Browser::Request) -> Result<(u16, String), ApiError> {
    use leptos::server_fn::response::ClientRes;
    let response = Browser::send(request).await?;
    let status = response.status();
    Ok((status, response.try_into_string().await?))
}

#[cfg(feature = "browser")]
pub(crate) use gathering::together;
#[cfg(feature = "browser")]
pub use naming::Requests;
#[cfg(feature = "browser")]
pub(crate) use naming::set_person;

#[cfg(feature = "browser")]
mod naming {
    use super::{Exchange, PERSON_HEADER, gathering, said};
    use crate::error::ApiError;
    use crate::key::PersonId;
    use futures::{Sink, Stream};
    use leptos::server_fn::Bytes;
    use leptos::server_fn::client::Client;
    use leptos::server_fn::client::browser::BrowserClient;
    use leptos::server_fn::error::FromServerFnError;
    use leptos::server_fn::request::browser::BrowserRequest;
    use leptos::server_fn::response::browser::BrowserResponse;
    use std::cell::Cell;
    use std::future::Future;

    thread_local! {
        static PERSON: Cell<Option<PersonId>> = const { Cell::new(None) };
    }

    /// From here on requests name this person.
    pub(crate) fn set_person(person: PersonId) {
        PERSON.set(Some(person));
    }

    /// Whom requests name.
    pub(super) fn person() -> Option<PersonId> {
        PERSON.get()
    }

    /// The client of server functions: the browser's `fetch`, with the person's name on it.
    #[derive(Debug)]
    pub struct Requests;

    impl<E, I, O> Client<E, I, O> for Requests
    where
        E: FromServerFnError,
        I: FromServerFnError,
        O: FromServerFnError,
    {
        type Request = BrowserRequest;
        type Response = BrowserResponse;

        fn send(request: BrowserRequest) -> impl Future<Output = Result<BrowserResponse, E>> + Send {
            if let Some(person) = PERSON.get() {
                request.headers().set(PERSON_HEADER, &person.to_string());
            }
            <BrowserClient as Client<E, I, O>>::send(request)
        }

        fn open_websocket(
            path: &str,
        ) -> impl Future<
            Output = Result<
                (impl Stream<Item = Result<Bytes, Bytes>> + Send + 'static, impl Sink<Bytes> + Send + 'static),
                E,
            >,
        > + Send {
            <BrowserClient as Client<E, I, O>>::open_websocket(path)
        }

        fn spawn(future: impl Future<Output = ()> + Send + 'static) {
            <BrowserClient as Client<E, I, O>>::spawn(future);
        }
    }
    impl Exchange for Requests {
        fn exchange(
            path: &str,
            request: BrowserRequest,
        ) -> impl Future<Output = Result<(u16, String), ApiError>> + Send {
            let joined = gathering::join(path, request);
            async move {
                match joined {
                    // Whoever gathers answers all that were begun, and lets go of the others.
                    Ok(answer) => answer.await.map_err(|_| ApiError::internal()),
                    Err(request) => said::<Self>(request).await,
                }
            }
        }
    }
}
