//! Who else is here: in the organization, at a record, in a field of it. Names come from the members; who is here says the engine.

use super::person::{avatar, person, tone};
use super::shell::Place;
use leptos::prelude::*;
use millstream::PersonId;
use millstream::hooks::{At, use_place, use_presence};
use std::collections::HashMap;
use uuid::Uuid;

/// So many faces stand side by side; where there are more, one less and their number.
const MOST_FACES: usize = 3;

/// Who else is in the organization.
#[derive(Clone, Copy)]
pub struct Others {
    /// Those who are named, by their names.
    people: Memo<Vec<Other>>,
    count: Memo<usize>,
}

#[derive(Clone, Debug, PartialEq)]
struct Other {
    id: PersonId,
    name: String,
    record: Option<Uuid>,
    field: Option<String>,
    is_typing: bool,
}

impl Others {
    /// For the pages of an organization; there others see from here on that the person is.
    pub fn provide(place: Place, names: Signal<HashMap<PersonId, String>>) {
        let roster = use_presence(move || place.id());
        let people = Memo::new(move |_| {
            let roster = roster.read();
            let names = names.read();
            let other = |(id, place): (PersonId, Option<&millstream::wire::Place>)| Other {
                id,
                name: name(&names, id),
                record: place.and_then(|place| place.record),
                field: place.and_then(|place| place.field.clone()),
                is_typing: place.is_some_and(|place| place.is_typing),
            };
            let mut people: Vec<_> = roster.people().map(other).collect();
            people.sort_unstable_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
            people
        });
        let count = Memo::new(move |_| roster.read().count());
        provide_context(Self { people, count });
    }

    fn at(self, record: Uuid) -> Vec<Other> {
        self.people.read().iter().filter(|other| other.record == Some(record)).cloned().collect()
    }
}

/// Somebody may be here before the list of members has come.
fn name(names: &HashMap<PersonId, String>, id: PersonId) -> String {
    names.get(&id).cloned().unwrap_or_else(|| "Somebody".to_owned())
}

fn first_name(name: &str) -> String {
    name.split_whitespace().next().unwrap_or_default().to_owned()
}

/// "Ada", "Ada and Ben", "Ada, Ben and 3 more".
fn listed(names: &[String], most: usize) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        names if names.len() <= most => {
            let (last, rest) = (names.len() - 1, &names[..names.len() - 1]);
            format!("{} and {}", rest.join(", "), names[last])
        }
        names => format!("{} and {} more", names[..most].join(", "), names.len() - most),
    }
}

/// Their faces, and how many more there are.
fn faces(people: &[Other], count: usize) -> AnyView {
    let shown = people.len().min(if count > MOST_FACES { MOST_FACES - 1 } else { MOST_FACES });
    let more = (count > shown).then(|| format!("+{}", count - shown));
    let face = |other: &Other| {
        view! { <span class="face" data-typing=other.is_typing.then_some("")>{avatar(other.id, &other.name)}</span> }
            .into_any()
    };
    let more = more.map(|more| view! { <span class="more" aria-hidden="true">{more}</span> }.into_any());
    people.iter().take(shown).map(face).chain(more).collect::<Vec<_>>().into_any()
}

/// "Ada is", "Ada and Ben are", with what they are.
fn sentence(names: &[String], most: usize, what: &str) -> String {
    let are = if names.len() == 1 { "is" } else { "are" };
    format!("{} {are} {what}", listed(names, most))
}

/// In the organization's head: who else is in it, with a list of them.
#[component]
pub fn HereNow() -> impl IntoView {
    let Others { people, count } = expect_context::<Others>();
    let is_somebody = Memo::new(move |_| count.get() > 0);
    let words = move || match count.get() {
        1 => "1 other person is here".to_owned(),
        many => format!("{many} other people are here"),
    };
    let list = move || {
        let people = people.read();
        let one = |other: &Other| view! { <li>{person(Some((other.id, other.name.clone())))}</li> }.into_any();
        let more = count.get().saturating_sub(people.len());
        let more = (more > 0).then(|| view! { <li>{format!("and {more} more")}</li> }.into_any());
        people.iter().map(one).chain(more).collect::<Vec<_>>()
    };
    // The menu stays open while people come and go.
    move || {
        is_somebody.get().then(|| {
            view! {
                <details class="menu here-now" name="shell-menu">
                    <summary aria-label=words>
                        <span class="avatars">{move || faces(&people.read(), count.get())}</span>
                    </summary>
                    <div class="menu-list">
                        <p>{words}</p>
                        <ul>{list}</ul>
                    </div>
                </details>
            }
            .into_any()
        })
    }
}

/// In the head of a record's page: who else is at it.
#[component]
pub fn HereAtRecord(#[prop(into)] record: Signal<Uuid>) -> impl IntoView {
    let others = expect_context::<Others>();
    move || {
        let people = others.at(record.get());
        (!people.is_empty()).then(|| {
            let names: Vec<_> = people.iter().map(|other| other.name.clone()).collect();
            let typing = people.iter().filter(|other| other.is_typing).map(|other| first_name(&other.name));
            let typing: Vec<_> = typing.collect();
            let typing = (!typing.is_empty()).then(|| sentence(&typing, 2, "typing"));
            view! {
                <div class="here">
                    <span class="hint" data-kind="typing">
                        {typing}
                    </span>
                    <span class="avatars" role="img" aria-label=sentence(&names, MOST_FACES, "here too")>
                        {faces(&people, people.len())}
                    </span>
                </div>
            }
            .into_any()
        })
    }
}

/// At a record's row in a list: who is at it.
#[component]
pub fn HereMark(record: Uuid) -> impl IntoView {
    let others = expect_context::<Others>();
    move || {
        let people = others.at(record);
        (!people.is_empty()).then(|| {
            let names: Vec<_> = people.iter().map(|other| other.name.clone()).collect();
            let words = sentence(&names, MOST_FACES, "here");
            view! {
                <span class="avatars" data-size="small" role="img" aria-label=words.clone() title=words>
                    {faces(&people, people.len())}
                </span>
            }
            .into_any()
        })
    }
}

/// The record whose fields are marked where somebody else is in them.
#[derive(Clone, Copy)]
struct Fields(Signal<Uuid>);

/// The name of a field of the record, or of one of its rows, as others are told of it.
fn field_name(record: Uuid, row: &str, field: &str) -> String {
    if row == record.to_string() { field.to_owned() } else { format!("{row}/{field}") }
}

/// The page shows a list of this table.
pub fn be_at_list(table: &'static str) {
    use_place(move || Some(At { table, record: None }));
}

/// The page shows this record: its fields are those with `data-row` and `data-field`, and say who else is in them ([`FieldMark`]).
pub fn be_at_record(table: &'static str, record: Signal<Uuid>) {
    use_place(move || Some(At { table, record: Some(record.get()) }));
    provide_context(Fields(record));
    #[cfg(feature = "hydrate")]
    follow_focus(record);
}

/// Others are told which field has the focus, if it can be changed, and when something is typed there.
#[cfg(feature = "hydrate")]
fn follow_focus(record: Signal<Uuid>) {
    use leptos::wasm_bindgen::JsCast;
    use leptos::web_sys::{Element, EventTarget};
    use millstream::hooks::{focus_field, type_in_field};

    let field = move |target: Option<EventTarget>| {
        let target = target?.dyn_into::<Element>().ok()?;
        let is_fixed = target.has_attribute("readonly") || target.has_attribute("disabled");
        let field = target.closest("[data-field]").ok().flatten().filter(|_| !is_fixed)?;
        Some(field_name(record.get_untracked(), &field.get_attribute("data-row")?, &field.get_attribute("data-field")?))
    };
    let comes = window_event_listener(leptos::ev::focusin, move |event| focus_field(field(event.target())));
    let goes = window_event_listener(leptos::ev::focusout, |_| focus_field(None));
    let types = window_event_listener(leptos::ev::input, move |event| {
        let is_text = |target: &EventTarget| target.dyn_ref::<leptos::web_sys::HtmlInputElement>().is_some();
        if field(event.target().filter(is_text)).is_some() {
            type_in_field();
        }
    });
    on_cleanup(move || {
        comes.remove();
        goes.remove();
        types.remove();
    });
}

/// Beside a control: who else is in its field. Nothing on pages of no record.
#[component]
pub fn FieldMark(row: Uuid, field: &'static str) -> impl IntoView {
    let Some((Fields(record), others)) = use_context::<Fields>().zip(use_context::<Others>()) else {
        return ().into_any();
    };
    let mark = move || {
        let record = record.get();
        let name = field_name(record, &row.to_string(), field);
        let mut here = others.at(record);
        here.retain(|other| other.field.as_ref() == Some(&name));
        let first = here.iter().find(|other| other.is_typing).or(here.first())?;
        let names: Vec<_> = here.iter().map(|other| first_name(&other.name)).collect();
        let doing = if first.is_typing { " is typing here" } else { " is in this field" };
        let view = view! {
            <span class="field-mark" data-tone=tone(first.id) data-typing=first.is_typing.then_some("")>
                {listed(&names, 1)}
                <span class="visually-hidden">{doing}</span>
            </span>
        };
        Some(view.into_any())
    };
    mark.into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_as_one_says_them() {
        let names =
            |count: usize| ["Ada", "Ben", "Cleo", "Dan"][..count].iter().map(ToString::to_string).collect::<Vec<_>>();
        for (count, most, words) in [
            (1, 3, "Ada"),
            (2, 3, "Ada and Ben"),
            (3, 3, "Ada, Ben and Cleo"),
            (4, 3, "Ada, Ben, Cleo and 1 more"),
            (3, 1, "Ada and 2 more"),
        ] {
            assert_eq!(listed(&names(count), most), words);
        }
    }

    #[test]
    fn a_field_of_a_row_of_the_record_is_named_with_its_row() {
        let record = Uuid::from_u128(1);
        assert_eq!(field_name(record, &record.to_string(), "title"), "title");
        let row = Uuid::from_u128(2).to_string();
        let name = field_name(record, &row, "description");
        assert_eq!(name, format!("{row}/description"));
        assert!(name.len() <= millstream::wire::LONGEST_FIELD);
    }
}
