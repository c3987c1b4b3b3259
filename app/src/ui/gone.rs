//! The page of a record that somebody else has deleted.

use leptos::prelude::*;

/// Says so, and offers to bring it back where the person may. `what` is how the record is called, `back` the way to the
/// others.
#[component]
pub fn Gone(
    what: String,
    back: String,
    others: &'static str,
    /// None where the person may not.
    #[prop(into)]
    restore: Signal<Option<Callback<()>>>,
) -> impl IntoView {
    view! {
        <div class="banner" data-kind="gone" role="alert">
            <p>
                <strong>{what} " has been deleted."</strong>
                " It is gone for everyone."
            </p>
            {move || {
                restore
                    .get()
                    .map(|restore| {
                        view! {
                            <button class="button" type="button" on:click=move |_| restore.run(())>
                                "Restore"
                            </button>
                        }
                    })
            }}
            <a class="button" href=back>
                {others}
            </a>
        </div>
    }
}
