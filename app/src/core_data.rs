//! What is looked up everywhere and seldom changes: there at once on every page, and on the device for when there is no
//! network.

use crate::customers::Customers;
use crate::tenancy::{Action, Members, Module};
use crate::ui::shell::Place;
use leptos::prelude::*;
use millstream::PersonId;
use millstream::hooks::keep_ready;
use millstream::live::NoParameters;
use std::collections::HashMap;

/// Keeps the core data of the place's organization live for as long as the component lives, as far as the person may see
/// them. Gives the members' names, once they are there.
pub fn keep_core_data(place: Place) -> Signal<HashMap<PersonId, String>> {
    let seen = move |module| move || place.may(module, Action::View).then(NoParameters::default);
    keep_ready::<Customers>(move || place.id(), seen(Module::Customers));
    let members = keep_ready::<Members>(move || place.id(), seen(Module::Members));
    let names = Memo::new(move |_| {
        members.with(|members| {
            let members = members.iter().flat_map(|members| members.iter());
            members.map(|member| (member.person_id, member.name.clone())).collect()
        })
    });
    names.into()
}
