//! The `protocol` of server functions: that of Leptos, with what a browser does for a call compiled once and not once a
//! function.

use crate::arguments::Arguments;
use crate::error::ApiError;
use crate::requests::Exchange;
use http::Method;
use leptos::server_fn::codec::{Encoding, GetUrl, IntoReq, Json};
use leptos::server_fn::error::FromServerFnError;
use leptos::server_fn::error::ServerFnErrorErr;
use leptos::server_fn::server::Server;
use leptos::server_fn::{ContentType, Http, Protocol};
use serde::de::DeserializeOwned;
use std::future::Future;
use std::marker::PhantomData;

/// A server function that only reads: a GET with its arguments in the address.
pub type Reading = Call<GetUrl>;

/// A server function that changes something: a POST with its arguments in JSON.
pub type Writing = Call<Arguments>;

/// A call whose arguments are encoded by `Input` and whose answer is JSON.
pub struct Call<Input>(PhantomData<Input>);

impl<Input, Asked, Answered, Browser, Served> Protocol<Asked, Answered, Browser, Served, ApiError> for Call<Input>
where
    Input: Encoding,
    Asked: IntoReq<Input, Browser::Request, ApiError> + Send,
    Answered: DeserializeOwned + Send,
    Browser: Exchange,
    Served: Server<ApiError>,
    Http<Input, Json>: Protocol<Asked, Answered, Browser, Served, ApiError>,
{
    const METHOD: Method = Input::METHOD;

    fn run_server<F, Fut>(
        request: Served::Request,
        function: F,
    ) -> impl Future<Output = Result<Served::Response, ApiError>> + Send
    where
        F: Fn(Asked) -> Fut + Send,
        Fut: Future<Output = Result<Answered, ApiError>> + Send,
    {
        <Http<Input, Json> as Protocol<Asked, Answered, Browser, Served, ApiError>>::run_server(request, function)
    }

    async fn run_client(path: &str, asked: Asked) -> Result<Answered, ApiError> {
        let request = asked.into_req(path, Json::CONTENT_TYPE)?;
        let (status, text) = Browser::exchange(path, request).await?;
        if status >= 400 { Err(read(&text)?) } else { read(&text) }
    }
}

/// Read as text, as the values that come with the page are: so there is one reader of each type.
fn read<T: DeserializeOwned>(text: &str) -> Result<T, ApiError> {
    serde_json::from_str(text)
        .map_err(|why| ApiError::from_server_fn_error(ServerFnErrorErr::Deserialization(why.to_string())))
}
