//! What is looked up everywhere and seldom changes: there at once on every page, and on the device for when there is no
//! network.

use crate::customers::Customers;
use crate::tenancy::{Action, Members, Module};
use crate::ui::shell::Place;
use millstream::hooks::keep_ready;
use millstream::live::NoParameters;

/// Keeps the core data of the place's organization live for as long as the component lives, as far as the person may see
/// them.
pub fn keep_core_data(place: Place) {
    let seen = move |module| move || place.may(module, Action::View).then(NoParameters::default);
    keep_ready::<Customers>(move || place.id(), seen(Module::Customers));
    keep_ready::<Members>(move || place.id(), seen(Module::Members));
}
