//! Editing in place. What is typed stays on screen until it is saved or dropped, whatever changes below it meanwhile.

use super::given_back::Orphans;
use super::presence::FieldMark;
use leptos::ev::KeyboardEvent;
use leptos::prelude::*;

/// The text that a person is typing over a value.
#[derive(Clone, Copy)]
pub struct Draft {
    text: RwSignal<Option<String>>,
    /// The value when the typing began: what the change will say that it starts from.
    from: StoredValue<String>,
    value: Signal<String>,
    commit: Callback<(String, String)>,
}

impl Draft {
    /// `commit` is called with what the typing began from and what it came to, where the two differ. What is being typed
    /// when the field goes from the screen is given back by the page, under the field's label.
    pub fn over(value: Signal<String>, commit: Callback<(String, String)>, label: Signal<String>) -> Self {
        let text = RwSignal::new(None::<String>);
        let from = StoredValue::new(String::new());
        if let Some(orphans) = use_context::<Orphans>() {
            on_cleanup(move || {
                let text = text.try_get_untracked().flatten();
                let is_new = |text: &String| from.try_get_value().is_none_or(|from| from != text.trim());
                if let Some(text) = text.filter(|text| !text.trim().is_empty()).filter(is_new) {
                    orphans.take_in(label.try_get_untracked().unwrap_or_default(), text);
                }
            });
        }
        Self { text, from, value, commit }
    }

    pub fn shown(self) -> String {
        self.text.get().unwrap_or_else(|| self.value.get())
    }

    pub fn type_text(self, text: String) {
        if self.text.with_untracked(Option::is_none) {
            self.from.set_value(self.value.get_untracked());
        }
        self.text.set(Some(text));
    }

    pub fn finish(self) {
        // An input that is taken out of the page loses the focus, when its draft may be gone already: then the text has
        // been given back.
        let Some(Some(text)) = self.text.try_get_untracked() else { return };
        let (from, to) = (self.from.get_value(), text.trim().to_owned());
        if to != from && !to.is_empty() {
            self.commit.run((from, to));
        }
        self.text.set(None);
    }

    pub fn drop_text(self) {
        self.text.set(None);
    }

    /// Enter saves, Escape drops.
    pub fn on_key(self, event: &KeyboardEvent, leave: impl FnOnce()) {
        match event.key().as_str() {
            "Enter" => {
                event.prevent_default();
                leave();
            }
            "Escape" => {
                event.stop_propagation();
                self.drop_text();
                leave();
            }
            _ => {}
        }
    }
}

/// A text that is edited where it stands: looks like text, is an input. Enter or leaving it saves, Escape drops.
#[component]
pub fn InPlace(
    #[prop(into)] value: Signal<String>,
    #[prop(into)] commit: Callback<(String, String)>,
    #[prop(into)] label: Signal<String>,
    /// The most characters that it may have.
    most: u32,
    #[prop(into)] is_readonly: Signal<bool>,
    #[prop(default = "inplace")] class: &'static str,
    #[prop(optional)] kind: Option<&'static str>,
    #[prop(optional)] align: Option<&'static str>,
    #[prop(optional)] inputmode: Option<&'static str>,
    #[prop(into, optional)] tint: Signal<Option<String>>,
    /// The row whose field it is, and which: where a conflict over it has been settled, one goes on here.
    #[prop(into, optional)]
    field: Option<(uuid::Uuid, &'static str)>,
) -> impl IntoView {
    let draft = Draft::over(value, commit, label);
    let input = NodeRef::<leptos::html::Input>::new();
    let leave = move || {
        if let Some(input) = input.get_untracked() {
            // An input that is in the page can always give its focus away.
            drop(input.blur());
        }
    };
    view! {
        <input
            class=class
            data-kind=kind
            data-align=align
            data-row=field.map(|(row, _)| row.to_string())
            data-field=field.map(|(_, name)| name)
            data-changed=move || tint.get().map(|_| "")
            inputmode=inputmode
            aria-label=move || label.get()
            maxlength=most.to_string()
            autocomplete="off"
            readonly=move || is_readonly.get()
            value=value.get_untracked()
            prop:value=move || draft.shown()
            node_ref=input
            on:input:target=move |event| draft.type_text(event.target().value())
            on:blur=move |_| draft.finish()
            on:keydown=move |event| draft.on_key(&event, leave)
        />
        {field.map(|(row, field)| view! { <FieldMark row field /> })}
    }
}
