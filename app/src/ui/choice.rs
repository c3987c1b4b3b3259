//! Choosing one of several: a native select over a signal.

use leptos::prelude::*;

/// An entry of a select: its value and how people read it.
pub type Entry = (String, String);

/// A select that shows `value` and tells what was chosen. What it shows follows the value, not the click: where the
/// choice is refused it goes back by itself.
#[component]
pub fn Choice(
    #[prop(into)] value: Signal<String>,
    #[prop(into)] entries: Signal<Vec<Entry>>,
    #[prop(into)] choose: Callback<String>,
    #[prop(optional)] id: Option<&'static str>,
    #[prop(optional)] name: Option<&'static str>,
    #[prop(optional)] label: Option<String>,
    #[prop(optional)] kind: Option<&'static str>,
    #[prop(into, optional)] is_disabled: Signal<bool>,
    #[prop(into, optional)] tint: Signal<Option<String>>,
) -> impl IntoView {
    // Derived from a whole record as a rule: only what has changed of it is rendered.
    let value = Memo::new(move |_| value.get());
    let entries = Memo::new(move |_| entries.get());
    let select = NodeRef::<leptos::html::Select>::new();
    let options = move || {
        let entries = entries.get();
        let chosen = value.get();
        let is_known = entries.iter().any(|(value, _)| *value == chosen);
        entries
            .into_iter()
            .map(|(value, label)| {
                let is_chosen = value == chosen;
                view! { <option value=value selected=is_chosen>{label}</option> }
            })
            .chain((!is_known).then(|| view! { <option value=chosen.clone() selected=true>{String::new()}</option> }))
            .collect_view()
    };
    // After the options have been renewed, the browser's own idea of what is selected is set right.
    Effect::new(move |_| {
        entries.track();
        let value = value.get();
        if let Some(select) = select.get() {
            select.set_value(&value);
        }
    });
    view! {
        <select
            class="select"
            id=id
            name=name
            aria-label=label
            data-kind=kind
            data-changed=move || tint.get().map(|_| "")
            disabled=move || is_disabled.get()
            node_ref=select
            on:change:target=move |event| {
                let chosen = event.target().value();
                choose.run(chosen);
                event.target().set_value(&value.get_untracked());
            }
        >
            {options}
        </select>
    }
}
