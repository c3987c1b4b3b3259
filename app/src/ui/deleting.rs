//! Deleting the record that a page shows: a button, and a dialog that asks first.

use super::icon::{Icon, icon};
use leptos::prelude::*;

/// `what` is what a person calls the record; `consequence` is read when the dialog stands open.
#[component]
pub fn Delete(
    what: &'static str,
    #[prop(into)] consequence: Signal<Option<String>>,
    delete: impl Fn() + Send + Sync + 'static,
) -> impl IntoView {
    let dialog = NodeRef::<leptos::html::Dialog>::new();
    let ask = move |_| {
        if let Some(dialog) = dialog.get() {
            drop(dialog.show_modal());
        }
    };
    let confirmed = move |_| {
        // Closed first: with the record goes the page that it stands on.
        if let Some(dialog) = dialog.get() {
            dialog.close();
        }
        delete();
    };
    view! {
        <button class="button" data-kind="quiet" data-tone="danger" type="button" on:click=ask>
            {icon(Icon::Trash)}
            "Delete"
        </button>
        <dialog class="dialog" aria-labelledby="delete-title" node_ref=dialog>
            <form class="form" method="dialog">
                <h2 id="delete-title">{format!("Delete this {what}?")}</h2>
                <p>{consequence}</p>
                <footer>
                    <button class="button" autofocus>
                        "Keep it"
                    </button>
                    <button class="button" data-kind="danger" type="button" on:click=confirmed>
                        {format!("Delete {what}")}
                    </button>
                </footer>
            </form>
        </dialog>
    }
}
