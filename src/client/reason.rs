//! Why a key is read. Told with each [`super::Effect::Fetch`], for whoever asks "why did this refetch?"; nothing is decided
//! by it.

use crate::overlay::MutationId;
use crate::snapshot::Xid;

/// See the module. `Copy`, so that it costs nothing where nobody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no answer yet.
    FirstLook,
    /// This transaction changed it, and the value does not see it.
    Change(Xid),
    /// It changed; by transactions too many to be named, or past what the server remembers.
    Changes,
    /// The person's rights in the organization changed.
    Rights,
    /// The server would not watch it: the right to what is shown may have gone.
    NotWatched,
    /// Nothing says as of when it was not to be seen, so no watch can be asked whether it still is not.
    Undated,
    /// A change of one's own, over a key for which no cursor vouches.
    Own(MutationId),
    /// A mutation was given up after it had been tried: nobody knows what came of it.
    GivenUp(MutationId),
    /// Of the answer before nobody could tell whether it contains a mutation of one's own.
    Unclear,
    /// Only time vouches for it, and its time is over.
    Outdated,
    /// The application said that all values of its name are to be asked again.
    Invalidated,
    /// The attempt before failed.
    Failed,
    /// The person asked.
    Asked,
}
