//! Following an invitation's link.

use super::api::{self, InvitationState};
use crate::ui::feedback::{alert, failure, loading};
use crate::ui::shell::{Session, go};
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;
use millstream::hooks::use_query;
use millstream::{ApiError, MutationId, OrganizationId};
use std::time::Duration;

#[component]
pub fn InvitationPage() -> impl IntoView {
    let session = expect_context::<Session>();
    let parameters = use_params_map();
    let token = Memo::new(move |_| parameters.with(|parameters| parameters.get("token")).unwrap_or_default());
    // An invitation is no live table: whoever opens the link is not yet told of anything.
    let owner = || OrganizationId::NONE;
    let invitation_query =
        use_query("invitation", Duration::from_secs(60), owner, move || token.get(), api::invitation);
    let error = RwSignal::new(None::<ApiError>);
    let go = go();
    let accept = move |_| {
        let go = go.clone();
        spawn_local(async move {
            match api::accept(MutationId::fresh(), token.get_untracked()).await {
                Ok(joined) => {
                    session.refresh();
                    go(&format!("/o/{}/orders", joined.data));
                }
                Err(refused) => error.set(Some(refused)),
            }
        });
    };
    view! {
        <Title text="Invitation" />
        <Suspense fallback=|| view! { <main class="entry">{loading("the invitation")}</main> }>
            {
                let accept = accept.clone();
                move || {
                    let accept = accept.clone();
                    let is_signed_in = session.me().is_ok();
                    let invitation = match invitation_query.get()? {
                        Ok(invitation) => invitation,
                        Err(refused) => {
                            let again = failure(&refused, move || invitation_query.retry());
                            return Some(view! { <main class="entry" id="main">{again}</main> }.into_any());
                        }
                    };
                    let next = format!("/join/{}", token.get());
                    let what = match invitation.state {
                        InvitationState::Open if is_signed_in => {
                            view! {
                                <button class="button" data-kind="primary" data-wide="" type="button" on:click=accept>
                                    "Join " {invitation.organization.clone()}
                                </button>
                            }
                                .into_any()
                        }
                        InvitationState::Open => {
                            view! {
                                <a class="button" data-kind="primary" data-wide="" href=format!("/sign-up?next={next}")>
                                    "Create an account"
                                </a>
                                <a class="button" data-wide="" href=format!("/sign-in?next={next}")>"Sign in"</a>
                            }
                                .into_any()
                        }
                        InvitationState::Accepted => {
                            view! { <p class="alert">"This invitation has already been used."</p> }.into_any()
                        }
                        InvitationState::Expired => {
                            view! { <p class="alert">"This invitation has expired. Ask for a new one."</p> }.into_any()
                        }
                    };
                    Some(
                        view! {
                            <main class="entry" id="main">
                                <header>
                                    <img class="mark" src="/favicon.svg" alt="" width="40" height="40" />
                                    <h1>"Join " {invitation.organization.clone()}</h1>
                                    <p>
                                        {invitation.invited_by.clone()} " invites you, as "
                                        {invitation.role.label().to_lowercase()} "."
                                    </p>
                                </header>
                                <section class="card">{alert(error.into())} {what}</section>
                            </main>
                        }
                            .into_any(),
                    )
                }
            }
        </Suspense>
    }
}
