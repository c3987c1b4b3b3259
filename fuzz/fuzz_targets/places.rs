//! Cursors of the list of orders, as they come in an address.
#![no_main]

use app::orders::Sort;
use app::orders::place::Place;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|cursor: &str| {
    for sort in [Sort::Newest, Sort::Updated, Sort::Due] {
        if let Some(place) = Place::parse(cursor, sort) {
            assert_eq!(place.to_string(), cursor, "a place has one text");
        }
    }
    // A list by time and one by due date have no cursor in common.
    let is_of = |sort| Place::parse(cursor, sort).is_some();
    assert!(!(is_of(Sort::Newest) && is_of(Sort::Due)) && is_of(Sort::Newest) == is_of(Sort::Updated));
});
