//! People: a face of two letters, in a colour that stays theirs.

use leptos::prelude::*;
use millstream::PersonId;

/// The person, or "Nobody".
pub fn person(who: Option<(PersonId, String)>) -> AnyView {
    match who {
        Some((id, name)) => view! {
            <span class="person">
                {avatar(id, &name)}
                <span>{name}</span>
            </span>
        }
        .into_any(),
        None => view! {
            <span class="person" data-kind="nobody">
                <span class="avatar" data-kind="nobody" aria-hidden="true"></span>
                <span>"Nobody"</span>
            </span>
        }
        .into_any(),
    }
}

/// The person's face.
pub fn avatar(id: PersonId, name: &str) -> AnyView {
    view! {
        <span class="avatar" data-tone=tone(id) title=name.to_owned() aria-hidden="true">
            {initials(name)}
        </span>
    }
    .into_any()
}

/// Which of the six colours is theirs.
pub fn tone(id: PersonId) -> String {
    (id.0.as_u128() % 6 + 1).to_string()
}

/// The first letters of the first and the last name.
pub fn initials(name: &str) -> String {
    let mut words = name.split_whitespace();
    let first = words.next().and_then(|word| word.chars().next());
    let last = words.next_back().and_then(|word| word.chars().next());
    first.into_iter().chain(last).flat_map(char::to_uppercase).collect()
}

#[cfg(test)]
mod tests {
    use super::initials;

    #[test]
    fn initials_are_of_the_first_and_last_name() {
        assert_eq!(initials("Ada Lovelace"), "AL");
        assert_eq!(initials("ada"), "A");
        assert_eq!(initials("Ada King, Countess of Lovelace"), "AL");
        assert_eq!(initials(""), "");
    }
}
