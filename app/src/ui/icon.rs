//! Icons: one path each, drawn with the text's colour.

use leptos::prelude::*;

#[derive(Clone, Copy)]
pub enum Icon {
    Alert,
    Check,
    Close,
    Code,
    Copy,
    Info,
    Members,
    Next,
    Orders,
    Plus,
    Previous,
    Projects,
    SignOut,
    Sync,
    Trash,
    UpDown,
}

impl Icon {
    fn path(self) -> &'static str {
        match self {
            Icon::Alert => "M8 2.5 14.5 13.5h-13zM8 6.5v3M8 11.5v.01",
            Icon::Check => "M3.5 8.5l3 3 6-7",
            Icon::Close => "M4.5 4.5l7 7M11.5 4.5l-7 7",
            Icon::Code => "M5.5 4.5 2 8l3.5 3.5M10.5 4.5 14 8l-3.5 3.5",
            Icon::Copy => "M6 6h7v7H6zM3 10V3h7",
            Icon::Info => "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12M8 7.5v3.5M8 5v.01",
            Icon::Members => {
                "M6 7.5a2.25 2.25 0 1 0 0-4.5 2.25 2.25 0 0 0 0 4.5M2 13c0-2 1.6-3.5 4-3.5s4 1.5 4 3.5M10.5 3.2a2.25 2.25 0 0 1 0 4.1M12 9.9c1.3.5 2 1.6 2 3.1"
            }
            Icon::Next => "M6.5 5 9.5 8l-3 3",
            Icon::Orders => "M3 3.5h10M3 8h10M3 12.5h6",
            Icon::Plus => "M8 3.5v9M3.5 8h9",
            Icon::Previous => "M9.5 5 6.5 8l3 3",
            Icon::Projects => "M2 4.5a1 1 0 0 1 1-1h3l1.5 2H13a1 1 0 0 1 1 1v5a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1z",
            Icon::SignOut => "M6.5 3H3v10h3.5M9 5.5 11.5 8 9 10.5M11.5 8H6.5",
            Icon::Sync => "M13 6.5A5.2 5.2 0 0 0 3.4 5M3 2.5V5h2.5M3 9.5a5.2 5.2 0 0 0 9.6 1.5M13 13.5V11h-2.5",
            Icon::Trash => "M3 4.5h10M6.5 4.5V3h3v1.5M4.5 4.5l.6 8h5.8l.6-8",
            Icon::UpDown => "M5.5 6 8 3.5 10.5 6M5.5 10 8 12.5l2.5-2.5",
        }
    }
}

/// The icon, silent for screen readers: what it stands beside says the word.
pub fn icon(icon: Icon) -> AnyView {
    view! {
        <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
            <path d=icon.path()></path>
        </svg>
    }
    .into_any()
}
