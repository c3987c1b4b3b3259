//! Starting without the network: the service worker, and the version that it belongs to. The shell that it keeps is a
//! page without content (`/shell`), which the program fills by itself.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use sha2::{Digest, Sha256};
use std::path::Path;

const WORKER: &str = include_str!("offline/worker.js");

/// `GET /sw.js`.
pub(crate) fn worker(pkg: &Path) -> Router {
    let script = WORKER.replace("%VERSION%", &version(pkg));
    let headers = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    Router::new().route("/sw.js", get(move || async move { (headers, script).into_response() }))
}

/// Another one for each build: a browser takes a worker for new when its text is.
fn version(pkg: &Path) -> String {
    let mut hash = Sha256::new();
    hash.update(WORKER);
    for file in ["millstream.js", "millstream.wasm", "millstream.css"] {
        match std::fs::read(pkg.join(file)) {
            Ok(bytes) => hash.update(bytes),
            Err(why) => tracing::warn!("{} cannot be read, so no page starts: {why}", pkg.join(file).display()),
        }
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_build_has_a_version_of_its_own() {
        let room = tempfile::tempdir().unwrap();
        std::fs::write(room.path().join("millstream.js"), "1").unwrap();
        let one = version(room.path());
        assert_eq!(version(room.path()), one);
        std::fs::write(room.path().join("millstream.js"), "2").unwrap();
        assert_ne!(version(room.path()), one);
    }
}
