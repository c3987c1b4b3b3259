//! How requests leave the page: each names the person whose page it is, so that what one person typed is never sent as
//! another who has signed in meanwhile in the same browser. For `#[server(client = millstream::requests::Requests)]`.

/// The header that names the person. A server refuses a request whose session is somebody else's.
pub const PERSON_HEADER: &str = "x-millstream-person";

/// The client of server functions.
#[cfg(not(feature = "browser"))]
pub type Requests = leptos::server_fn::client::browser::BrowserClient;

#[cfg(feature = "browser")]
pub use naming::Requests;
#[cfg(feature = "browser")]
pub(crate) use naming::set_person;

#[cfg(feature = "browser")]
mod naming {
    use super::PERSON_HEADER;
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
}
