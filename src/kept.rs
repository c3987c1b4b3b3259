//! What a device keeps: which value replaces which. Pure.

use crate::snapshot::Stamp;

/// Whether a value of this stamp is written over one that was kept with the other. Of different epochs nobody can tell which is
/// newer: the later to be written is, mostly, and the server is asked about it anyway.
pub fn replaces(new: &Stamp, before: Option<&Stamp>) -> bool {
    before.is_none_or(|before| before.epoch != new.epoch || new.covers(before))
}
