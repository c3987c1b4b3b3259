//! Which address leads where, and through which layers. What they answer stands elsewhere.

use crate::answers;
use crate::feeding::Pulse;
use crate::metrics::Metrics;
use crate::rate_limit::{self, Limits};
use crate::requests::RequestName;
use crate::security_headers::{self, Transport};
use crate::session_layer::{Sessions, find_caller, find_page_owner};
use crate::sign_in_form::Form;
use crate::site::Watch;
use crate::{batch, live, offline, probes, requests};
use app::request::{Caller, Services};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use leptos::config::LeptosOptions;
use leptos::prelude::provide_context;
use leptos::server_fn::axum::server_fn_paths;
use leptos_axum::{ErrorHandler, LeptosRoutes};
use millstream::hooks::RequestCache;
use millstream::hub::Hub;
use millstream::requests::API;
use std::collections::HashMap;
use std::num::NonZero;
use std::sync::{Arc, LazyLock};
use std::time::Instant;
use tokio_util::task::LocalPoolHandle;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::csrf::{ConfigError, CsrfLayer};
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::Instrument;

const LARGEST_BODY: usize = 256 * 1024;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Web {
    pub(crate) services: Services,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) limits: Arc<Limits>,
    /// The origin that browsers name, where it is not the address listened on.
    pub(crate) public_origin: Option<String>,
    pub(crate) metrics: Arc<Metrics>,
}

/// The whole site.
///
/// # Errors
/// Where the public URL is no origin.
pub(crate) fn router(
    web: Web,
    options: LeptosOptions,
    transport: Transport,
    watch: Watch,
) -> Result<Router, ConfigError> {
    let site = Router::new()
        .merge(api(&web)?)
        .merge(live_connection(&web))
        .merge(live_questions(&web)?)
        .merge(operators(&web))
        .merge(pages(&web, options, watch))
        .layer(map_response_with_state(transport, security_headers::add))
        .layer(from_fn_with_state(web.metrics.clone(), requests::observe));
    Ok(site)
}

/// Server functions, and the forms beside them. Read from the last layer to the first.
fn api(web: &Web) -> Result<Router, ConfigError> {
    let answer = |State(web): State<Web>, request: Request| async move {
        match function_or_form(&web, request).await {
            Ok(response) => response,
            Err(error) => answers::error(error),
        }
    };
    let api = Router::new()
        .route("/api", any(answer))
        .route("/api/", any(answer))
        .route("/api/{*path}", any(answer))
        .layer(from_fn_with_state(web.clone(), find_caller))
        .layer(from_fn_with_state(web.clone(), rate_limit::limit))
        .layer(csrf(web)?)
        .layer(CatchPanicLayer::new())
        .layer(from_fn(answers::as_api_errors))
        .layer(CompressionLayer::new());
    Ok(api.with_state(web.clone()))
}

/// Whether there is a server function at this path.
pub(crate) fn is_function(path: &str) -> bool {
    FUNCTIONS.0.contains_key(path)
}

/// The methods of the server functions, by path.
struct Functions(HashMap<&'static str, Vec<Method>>);

static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::registered);

impl Functions {
    fn registered() -> Self {
        let mut methods: HashMap<_, Vec<_>> = HashMap::new();
        for (path, method) in server_fn_paths() {
            methods.entry(path).or_default().push(method);
        }
        methods.entry(batch::PATH).or_default().push(Method::POST);
        Self(methods)
    }

    /// Whether it can be one of a batch. Signing in and out is no mutation, and bounded by address.
    fn is_mutation(&self, function: &str) -> bool {
        let path = format!("{API}{function}");
        let is_post = self.0.get(path.as_str()).is_some_and(|methods| methods.contains(&Method::POST));
        is_post && path != batch::PATH && !function.starts_with("session/")
    }
}

async fn function_or_form(web: &Web, request: Request) -> Result<Response, millstream::ApiError> {
    let path = request.uri().path().to_owned();
    let Some(methods) = FUNCTIONS.0.get(path.as_str()) else {
        return Ok(StatusCode::NOT_FOUND.into_response());
    };
    if !methods.contains(request.method()) {
        let allowed: Vec<_> = methods.iter().map(Method::as_str).collect();
        let allowed = [(header::ALLOW, allowed.join(", "))];
        return Ok((StatusCode::METHOD_NOT_ALLOWED, allowed).into_response());
    }
    let mut request = answers::whole(request, LARGEST_BODY).await?;
    if let Some(form) = Form::of(&path, request.headers()) {
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
        let body = axum::body::to_bytes(request.into_body(), LARGEST_BODY).await;
        return form.answer(web, &caller, &body.unwrap_or_default()).await;
    }
    // To what accepts HTML Leptos answers with a redirect, as if it came from a form; here it never does.
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if path == batch::PATH {
        let caller = request.extensions().get::<Caller>().and_then(|caller| caller.0.as_ref());
        caller.ok_or_else(millstream::ApiError::unauthenticated)?;
        return batch::answer(request, |function| FUNCTIONS.is_mutation(function), |call| apart(web, call)).await;
    }
    Ok(function(web, request).await)
}

/// A call of a batch, answered and counted as if it had come by itself.
async fn apart(web: &Web, call: Request) -> Response {
    let (began, path) = (Instant::now(), call.uri().path().to_owned());
    let name = call.extensions().get::<RequestName>().cloned();
    let response = answers::in_our_words(&path, name.as_ref(), function(web, call).await).await;
    web.metrics.answered(path, response.status(), began.elapsed());
    response
}

async fn function(web: &Web, request: Request) -> Response {
    if let Err(refusal) = web.limits.call(&request) {
        return refusal;
    }
    let services = web.services.clone();
    let context = move || provide_context(services.clone());
    leptos_axum::handle_server_fns_with_context(context, request).await.into_response()
}

fn live_connection(web: &Web) -> Router {
    Router::new()
        .route("/live", get(live::connect))
        .layer(from_fn_with_state(web.clone(), find_caller))
        .with_state(web.clone())
}

/// The same where no WebSocket gets through. Read from the last layer to the first.
fn live_questions(web: &Web) -> Result<Router, ConfigError> {
    let questions = Router::new()
        .route("/live", post(live::ask))
        .layer(from_fn_with_state(web.clone(), find_caller))
        .layer(csrf(web)?)
        .layer(CatchPanicLayer::new())
        .layer(from_fn(answers::as_api_errors));
    Ok(questions.with_state(web.clone()))
}

/// Nothing is done for a page of another site.
fn csrf(web: &Web) -> Result<CsrfLayer, ConfigError> {
    match &web.public_origin {
        Some(origin) => CsrfLayer::new().add_trusted_origin(origin),
        None => Ok(CsrfLayer::new()),
    }
}

fn operators(web: &Web) -> Router {
    Router::new()
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .layer(SetResponseHeaderLayer::overriding(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .with_state(web.clone())
}

/// Pages, and files for every address that is no page.
fn pages(web: &Web, options: LeptosOptions, watch: Watch) -> Router {
    let services = web.services.clone();
    let context = move || {
        provide_context(services.clone());
        provide_context(RequestCache::default());
        security_headers::guard_page(watch);
    };
    // The server functions have their own routes above.
    let functions = server_fn_paths().map(|(path, _)| path.to_owned()).collect();
    let (list, _) = leptos_axum::generate_route_list_with_exclusions_and_ssg_and_context(
        app::App,
        Some(functions),
        context.clone(),
    );
    let around_pages = ServiceBuilder::new()
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::new())
        .layer(from_fn_with_state(renderers(), render_on_one_thread))
        .layer(from_fn_with_state(web.clone(), find_caller))
        .layer(from_fn_with_state(web.clone(), rate_limit::limit_pages))
        .layer(from_fn_with_state(web.clone(), find_page_owner));
    let shell = {
        let options = options.clone();
        move || app::shell(options.clone())
    };
    let empty = {
        let options = options.clone();
        leptos_axum::render_app_async_with_context(context.clone(), move || app::offline_shell(options.clone()))
    };
    let pkg = std::path::Path::new(&*options.site_root).join(&*options.site_pkg_dir);
    let worker = offline::worker(&pkg, options.site_pkg_dir_route_base().trim_end_matches('/'));
    let no_page = ErrorHandler::new_with_context(context.clone(), app::shell, options.clone());
    // The names of built files say nothing of their content, so each use asks whether they are still the same.
    let around_files =
        || SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let built = ServiceBuilder::new().layer(around_files()).service(files(&options, &options.site_pkg_dir));
    let public = files(&options, "").fallback(around_pages.clone().service(no_page));
    let pages = Router::new()
        .leptos_routes_with_context(&options, list, context, shell)
        .layer(around_pages)
        .route("/shell", get(empty).layer(CompressionLayer::new()))
        .merge(worker.with_state(()))
        .with_state(options.clone());
    pages
        .nest_service(options.site_pkg_dir_route_base().trim_end_matches('/'), built)
        .fallback_service(ServiceBuilder::new().layer(around_files()).service(public))
}

/// The threads that render pages.
fn renderers() -> LocalPoolHandle {
    LocalPoolHandle::new(std::thread::available_parallelism().map_or(1, NonZero::get))
}

/// A page is rendered by one thread, and to its end.
///
/// Every `Suspense` of a page is a task that reads the page's memos when what it waits for has come. On several threads two of
/// them come at once, and who reads a memo while the other computes it finds nothing in it (reactive_graph 0.2): it panics,
/// and the page is never answered. And a page that is dropped where its browser has gone would take its values away from under them. What this
/// costs is bounded by what bounds the reads. Nothing of a page is sent before all of it is there (`SsrMode::Async`), so it is
/// not kept from anybody.
async fn render_on_one_thread(State(renderers): State<LocalPoolHandle>, request: Request, next: Next) -> Response {
    let rendering = async move {
        let (parts, body) = next.run(request).await.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await?;
        Ok::<_, axum::Error>(Response::from_parts(parts, Body::from(body)))
    };
    let span = tracing::Span::current();
    let rendered = renderers.spawn_pinned(|| rendering.instrument(span));
    match rendered.await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            tracing::error!(%error, "a page could not be rendered to its end");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        // The layer around this answers what panicked.
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(), // the server is being stopped
        },
    }
}

fn files(options: &LeptosOptions, folder: &str) -> ServeDir {
    ServeDir::new(std::path::Path::new(&*options.site_root).join(folder))
        .append_index_html_on_directories(false)
        .precompressed_br()
        .precompressed_gzip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::sync::oneshot;
    use tower::Service;

    #[tokio::test]
    async fn a_page_is_rendered_to_its_end_though_nobody_waits_for_it() {
        let (read, reads) = oneshot::channel::<()>();
        let (rendered, renders) = oneshot::channel();
        let channels = Arc::new(std::sync::Mutex::new(Some((reads, rendered))));
        let page = move || {
            let channels = channels.lock().ok().and_then(|mut channels| channels.take());
            async move {
                let Some((reads, rendered)) = channels else { return };
                drop(reads.await);
                let _is_heard = rendered.send(());
            }
        };
        let mut router: Router =
            Router::new().route("/", get(page)).layer(from_fn_with_state(renderers(), render_on_one_thread));
        let mut request = router.call(Request::new(Body::empty()));
        assert!((&mut request).now_or_never().is_none(), "it waits for what it reads");
        tokio::task::yield_now().await;
        drop(request);
        let _is_heard = read.send(());
        assert_eq!(renders.await, Ok(()));
    }
}
