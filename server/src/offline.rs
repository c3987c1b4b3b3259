//! Starting without the network: the service worker, and the version that it belongs to. The shell that it keeps is a
//! page without content (`/shell`), which the program fills by itself.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::{fs, io};

/// How the files begin that only few load, when they ask for them: the developers' tools. They are kept where they have been
/// loaded, and not fetched ahead.
const ASKED_FOR: &str = "split_lazy_drawer";

const WORKER: &str = include_str!("offline/worker.js");

/// `GET /sw.js`, for the program in the folder `pkg`, which is served at `at`.
pub(crate) fn worker(pkg: &Path, at: &str) -> Router {
    let program = program(pkg).unwrap_or_else(|why| {
        tracing::warn!("{} cannot be read, so no page starts: {why}", pkg.display());
        Vec::new()
    });
    let (asked_for, all): (Vec<_>, Vec<_>) = program.iter().partition(|(name, _)| name.starts_with(ASKED_FOR));
    let list = |files: Vec<&(String, Vec<u8>)>| {
        let paths: Vec<_> = files.iter().map(|(name, _)| format!("{at}/{name}")).collect();
        serde_json::Value::from(paths).to_string()
    };
    let script = WORKER
        .replace("%VERSION%", &version(&program))
        .replace("/* as built */ []", &list(all))
        .replace("/* where asked for */ []", &list(asked_for));
    let headers = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    Router::new().route("/sw.js", get(move || async move { (headers, script).into_response() }))
}

/// The files that a browser loads, by name, with their content; not their compressed twins.
fn program(pkg: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(pkg)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if [".js", ".wasm", ".css"].iter().any(|ending| name.ends_with(ending)) {
            files.push((name, fs::read(entry.path())?));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Another one for each build: a browser takes a worker for new when its text is.
fn version(program: &[(String, Vec<u8>)]) -> String {
    let mut hash = Sha256::new();
    hash.update(WORKER);
    for (name, content) in program {
        hash.update(name);
        hash.update(content);
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
        fs::write(room.path().join("millstream.js"), "1").unwrap();
        fs::write(room.path().join("millstream.js.br"), "1").unwrap();
        let one = program(room.path()).unwrap();
        assert_eq!(one.len(), 1);
        fs::write(room.path().join("millstream.js"), "2").unwrap();
        assert_ne!(version(&program(room.path()).unwrap()), version(&one));
    }

    #[tokio::test]
    async fn the_worker_names_what_is_to_be_kept() {
        let room = tempfile::tempdir().unwrap();
        fs::write(room.path().join("a.wasm"), "1").unwrap();
        fs::write(room.path().join("split_lazy_drawer_1.wasm"), "1").unwrap();
        let request = axum::extract::Request::get("/sw.js").body(axum::body::Body::empty()).unwrap();
        let answer = tower::ServiceExt::oneshot(worker(room.path(), "/pkg"), request).await.unwrap();
        let script = axum::body::to_bytes(answer.into_body(), 100_000).await.unwrap();
        let script = String::from_utf8(script.to_vec()).unwrap();
        assert!(script.contains(r#"const ASKED_FOR = ["/pkg/split_lazy_drawer_1.wasm"];"#), "{script}");
        assert!(script.contains(r#"const PROGRAM = ["/pkg/a.wasm"];"#) && !script.contains("%VERSION%"), "{script}");
    }
}
