//! What somebody else has just changed is tinted for a moment, and says by whom.

use leptos::prelude::*;
use millstream::PersonId;

/// Who changed a row last, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Touch {
    /// Milliseconds since 1970, by the database's clock.
    pub at: i64,
    pub by: Option<PersonId>,
    /// None for a change that no person made, as by plain SQL.
    pub name: Option<String>,
}

/// How long the tint stays, in milliseconds.
#[cfg(feature = "hydrate")]
const STAYS: u32 = 4_000;

/// "Ada, just now" for a moment after somebody else's change; none otherwise. `known` is the time up to which changes
/// are no news to this screen: of a row that comes in later, what is newer is somebody's doing.
pub fn use_tint(touch: Signal<Option<Touch>>, me: PersonId, known: Option<i64>) -> Signal<Option<String>> {
    let tint = RwSignal::new(None::<String>);
    #[cfg(feature = "hydrate")]
    {
        let generation = StoredValue::new(0_u32);
        Effect::new(move |seen: Option<Option<i64>>| {
            let seen = seen.flatten().or(known);
            let touch = touch.get();
            if let (Some(seen), Some(touch)) = (seen, &touch)
                && touch.at > seen
                && touch.by != Some(me)
            {
                // The first name is enough among colleagues, and fits.
                let name =
                    touch.name.as_deref().and_then(|name| name.split_whitespace().next()).unwrap_or("The database");
                tint.set(Some(format!("{name}, just now")));
                generation.update_value(|generation| *generation += 1);
                let mine = generation.get_value();
                gloo_timers::callback::Timeout::new(STAYS, move || {
                    if generation.try_get_value() == Some(mine) {
                        tint.set(None);
                    }
                })
                .forget();
            }
            touch.map(|touch| touch.at).max(seen)
        });
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = (touch, me, known);
    tint.into()
}
