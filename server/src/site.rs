//! Where the built site lies (scripts, styles, icons), and what Leptos has to know to refer to it.

use leptos::config::{Env, LeptosOptions, get_configuration};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const SITE_ROOT: &str = "LEPTOS_SITE_ROOT";

/// Whether `cargo leptos watch` runs us, whose page reloads itself by a socket on another port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    On,
    Off,
}

impl Watch {
    pub(crate) fn from_env() -> Self {
        match std::env::var_os("LEPTOS_WATCH") {
            Some(_) => Watch::On,
            None => Watch::Off,
        }
    }
}

/// The options for pages served at `addr`.
pub(crate) fn options(addr: SocketAddr, watch: Watch) -> LeptosOptions {
    // Only there do the environment's reload settings mean anything; elsewhere a stray variable changes nothing.
    if watch == Watch::On {
        match get_configuration(None) {
            Ok(told) => {
                let mut options = told.leptos_options;
                options.site_addr = addr;
                return options;
            }
            Err(error) => tracing::warn!(%error, "the settings of cargo leptos cannot be read"),
        }
    }
    let exe = std::env::current_exe().ok();
    let beside = exe.as_deref().and_then(Path::parent).map(|folder| folder.join("site"));
    let root = root(std::env::var_os(SITE_ROOT).map(PathBuf::from), beside.filter(|site| site.is_dir()));
    LeptosOptions::builder()
        .output_name("millstream")
        .site_root(root.to_string_lossy().into_owned())
        .site_pkg_dir("pkg")
        .site_addr(addr)
        .reload_port(3001)
        .env(if cfg!(debug_assertions) { Env::DEV } else { Env::PROD })
        .build()
}

/// Named, else beside the executable as in a release, else where cargo leptos builds it.
fn root(named: Option<PathBuf>, beside: Option<PathBuf>) -> PathBuf {
    named.or(beside).unwrap_or_else(|| PathBuf::from("target/site"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_site_goes_before_the_one_beside_and_that_before_the_builds() {
        let (named, beside) = (PathBuf::from("/named"), PathBuf::from("/beside"));
        assert_eq!(root(Some(named.clone()), Some(beside.clone())), named);
        assert_eq!(root(None, Some(beside.clone())), beside);
        assert_eq!(root(None, None), PathBuf::from("target/site"));
    }
}
