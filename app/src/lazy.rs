//! The pages whose code is a file of its own, so that whoever only signs in or up does not load it.
//!
//! They are one file and not several: what a few of them share would have to come in further files, and a person at
//! work needs nearly all of it. The file is loaded before a page comes alive and never later, so that nobody who has
//! been working for a while, perhaps offline or since before an update, waits for a part of the program.

use crate::orders::page::OrderPage;
use crate::orders::table::OrdersPage;
use crate::projects::list::ProjectsPage;
use crate::projects::page::ProjectPage;
use crate::tenancy::invitation::InvitationPage;
use crate::tenancy::members::MembersPage;
use crate::tenancy::organizations::OrganizationsPage;
use crate::ui::shell::Workspace;
use leptos::prelude::*;
use leptos_router::LazyRoute;

macro_rules! lazy_pages {
    ($($route:ident => $page:ident),+ $(,)?) => {
        enum Which {
            $($page),+
        }

        #[lazy]
        fn lazy_page(which: Which) -> AnyView {
            match which {
                $(Which::$page => $page().into_any()),+
            }
        }

        $(
            pub struct $route;

            impl LazyRoute for $route {
                fn data() -> Self {
                    Self
                }

                async fn view(_: Self) -> AnyView {
                    lazy_page(Which::$page).await
                }

                async fn preload() {
                    load().await;
                }
            }
        )+
    };
}

lazy_pages! {
    OrganizationsRoute => OrganizationsPage,
    InvitationRoute => InvitationPage,
    WorkspaceRoute => Workspace,
    OrdersRoute => OrdersPage,
    OrderRoute => OrderPage,
    ProjectsRoute => ProjectsPage,
    ProjectRoute => ProjectPage,
    MembersRoute => MembersPage,
}

async fn load() {
    // Made by `lazy`, in the browser alone; the server has everything.
    #[cfg(feature = "hydrate")]
    __preload_lazy_page().await;
}

/// Resolves once the browser has the code of the page at this path.
pub async fn loaded(path: &str) {
    if !matches!(path, "/sign-in" | "/sign-up") {
        load().await;
    }
}
