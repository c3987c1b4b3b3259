//! The design system: what screens are made of. It knows no domain but people and their names.

pub mod choice;
pub mod editing;
pub mod feedback;
pub mod icon;
pub mod person;
pub mod reports;
pub mod shell;
pub mod sync;
pub mod time;
pub mod tint;
