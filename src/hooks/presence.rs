//! Who else is here, and where: [`use_presence`], [`use_place`].

use crate::key::OrganizationId;
use crate::presence::Roster;
use leptos::prelude::*;
use uuid::Uuid;

/// Who else is in the organization, while the component lives; others see that the person is, while the page is in view. Empty on
/// the server, without a live connection, and for whom the server tells nothing.
///
/// One component of a page calls it: a page is in one organization.
pub fn use_presence(organization: impl Fn() -> OrganizationId + Send + Sync + 'static) -> Signal<Roster> {
    #[cfg(feature = "browser")]
    {
        Effect::new(move |_| crate::browser::enter(Some(organization())));
        on_cleanup(|| crate::browser::enter(None));
        crate::browser::presence()
    }
    #[cfg(not(feature = "browser"))]
    {
        drop(organization);
        Signal::derive(Roster::default)
    }
}

/// Where a page is: a list of a live table, or one of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub table: &'static str,
    pub record: Option<Uuid>,
}

/// Tells others that the person has this before them, while the component lives.
pub fn use_place(place: impl Fn() -> Option<At> + Send + Sync + 'static) {
    #[cfg(feature = "browser")]
    {
        let last = StoredValue::new(None::<At>);
        Effect::new(move |_| {
            let place = place();
            last.set_value(place);
            crate::browser::take_place(place.map(|at| (at.table, at.record)));
        });
        on_cleanup(move || {
            if let Some(at) = last.try_get_value().flatten() {
                crate::browser::leave_place(at.table, at.record);
            }
        });
    }
    #[cfg(not(feature = "browser"))]
    drop(place);
}

/// Tells others at the same record that this field of it has the focus, or that none has. By any name of at most 64 bytes.
pub fn focus_field(field: Option<String>) {
    #[cfg(feature = "browser")]
    crate::browser::focus(field);
    #[cfg(not(feature = "browser"))]
    drop(field);
}

/// Something has been typed in the field that has the focus.
pub fn type_in_field() {
    #[cfg(feature = "browser")]
    crate::browser::typed();
}
