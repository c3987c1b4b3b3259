//! The design system: what screens are made of. It knows no domain but people and their names.

pub mod away;
pub mod choice;
pub mod conflict;
pub mod deleting;
pub mod editing;
pub mod feedback;
pub mod given_back;
pub mod gone;
pub mod icon;
pub mod intent;
pub mod person;
pub mod presence;
pub mod reports;
pub mod rows;
#[cfg(feature = "hydrate")]
pub mod scroll;
pub mod shell;
pub mod sync;
pub mod time;
pub mod tint;
