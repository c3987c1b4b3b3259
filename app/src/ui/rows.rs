//! Long tables: of ten thousand rows, those near what is in view are in the document.

use leptos::html::Tbody;
use leptos::prelude::*;
use std::ops::Range;

/// Up to so many rows are all in the document: found by the browser's search, printed, read aloud as one.
const ALL_UP_TO: usize = 150;
/// Rows above and below what is in view that are there before they are scrolled to.
const OVERSCAN: usize = 30;
/// The window moves by so many rows at a time, not by each.
const STEP: usize = 10;
/// What a row is taken to measure before one has been measured, in pixels.
const ROW: f64 = 44.0;

/// Where a table stands before the reader, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The upper end of the first row below the upper edge of the window; negative where it has been scrolled past.
    top: f64,
    /// How high the window is.
    height: f64,
    row: f64,
}

impl View {
    /// The rows in view, of so many.
    fn in_view(&self, count: usize) -> Range<usize> {
        // Both are at least 0, and rows number far less than what fits.
        let first = (-self.top / self.row).floor().max(0.0) as usize;
        let last = ((self.height - self.top) / self.row).ceil().max(0.0) as usize;
        first.min(count)..last.min(count)
    }

    /// The rows that are to be in the document.
    fn in_document(&self, count: usize) -> Range<usize> {
        if count <= ALL_UP_TO {
            return 0..count;
        }
        let in_view = self.in_view(count);
        let first = in_view.start.saturating_sub(OVERSCAN) / STEP * STEP;
        let last = (in_view.end + OVERSCAN).div_ceil(STEP) * STEP;
        first..last.min(count)
    }
}

/// What is to be shown of a long table.
#[derive(Clone, Copy)]
pub struct VirtualRows {
    /// The rows that the reader sees.
    pub in_view: Memo<Range<usize>>,
    /// The rows that are in the document.
    pub in_document: Memo<Range<usize>>,
    /// The height of the rows above those, in pixels.
    pub above: Memo<f64>,
    /// And of those below.
    pub below: Memo<f64>,
}

/// Follows how the body of a table of `count` rows is scrolled. Its rows (those with `data-id`) are about equally high.
pub fn use_virtual_rows(body: NodeRef<Tbody>, count: Memo<usize>) -> VirtualRows {
    // Before there is a window, as on the server: what a page has.
    let view = RwSignal::new(View { top: 0.0, height: ROW * 30.0, row: ROW });
    #[cfg(feature = "hydrate")]
    follow(body, view, count);
    #[cfg(not(feature = "hydrate"))]
    let _ = body;
    let in_view = Memo::new(move |_| view.get().in_view(count.get()));
    let in_document = Memo::new(move |_| view.get().in_document(count.get()));
    let height = move |rows: usize| rows as f64 * view.with(|view| view.row);
    VirtualRows {
        in_view,
        in_document,
        above: Memo::new(move |_| height(in_document.get().start)),
        below: Memo::new(move |_| height(count.get().saturating_sub(in_document.get().end))),
    }
}

#[cfg(feature = "hydrate")]
fn follow(body: NodeRef<Tbody>, view: RwSignal<View>, count: Memo<usize>) {
    use super::scroll;
    use leptos::ev;
    use leptos::wasm_bindgen::JsCast;

    /// The mean height of the rows that are there: in a narrow window, cards differ by a line.
    fn measured(body: &web_sys::HtmlElement) -> Option<f64> {
        let rows = body.query_selector_all("tr[data-id]").ok()?;
        let edge = |at| Some(rows.item(at)?.dyn_into::<web_sys::Element>().ok()?.get_bounding_client_rect());
        let (first, last) = (edge(0)?, edge(rows.length() - 1)?);
        let height = (last.bottom() - first.top()) / f64::from(rows.length());
        (height > 0.0).then_some(height)
    }
    let look = move |is_resized: bool| {
        let Some(body) = body.try_get_untracked().flatten() else { return };
        let height = window().inner_height().ok().and_then(|height| height.as_f64()).unwrap_or(ROW * 30.0);
        let top = body.get_bounding_client_rect().top();
        let before = view.get_untracked();
        let row = if is_resized { measured(&body).unwrap_or(before.row) } else { before.row };
        let now = View { top, height, row };
        if now != before {
            view.set(now);
        }
    };
    let is_measured = StoredValue::new(false);
    Effect::new(move |_| {
        let is_there = body.get().is_some() && count.get() > 0;
        // The rows of this turn are in the document when the browser paints next.
        if is_there {
            request_animation_frame(move || {
                let is_first = is_measured.try_get_value() == Some(false);
                is_measured.try_set_value(true);
                look(is_first);
                if is_first && let Some(pixels) = scroll::came_back_to() {
                    // The rows above stand by their measure then.
                    request_animation_frame(move || window().scroll_to_with_x_and_y(0.0, pixels));
                }
            });
        }
    });
    let scrolled = window_event_listener(ev::scroll, move |_| {
        // What scrolls once the table is gone is another page.
        let is_here = body.try_get_untracked().flatten().is_some_and(|body| body.is_connected());
        if is_here && let Ok(pixels) = window().scroll_y() {
            scroll::is_at(pixels);
            look(false);
        }
    });
    let resized = window_event_listener(ev::resize, move |_| look(true));
    on_cleanup(move || {
        scrolled.remove();
        resized.remove();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCREEN: View = View { top: 200.0, height: 800.0, row: 40.0 };

    #[test]
    fn a_short_table_is_all_in_the_document() {
        for count in [0, 1, 50, ALL_UP_TO] {
            assert_eq!(SCREEN.in_document(count), 0..count);
        }
    }

    #[test]
    fn what_is_in_view_is_in_the_document_with_some_rows_around_it() {
        let scrolled = |rows: f64| View { top: -rows * 40.0, ..SCREEN };
        assert_eq!(SCREEN.in_view(10_000), 0..15);
        assert_eq!(scrolled(5_000.0).in_view(10_000), 5_000..5_020);
        for rows in [0.0, 3.3, 29.0, 31.0, 149.0, 5_000.5, 9_990.0, 20_000.0] {
            let (seen, there) = (scrolled(rows).in_view(10_000), scrolled(rows).in_document(10_000));
            assert!(there.start <= seen.start && there.end >= seen.end, "{seen:?} of {there:?}");
            assert!(there.len() <= 20 + 2 * (OVERSCAN + STEP), "{there:?}");
        }
    }

    #[test]
    fn a_table_that_has_become_shorter_than_it_was_scrolled_shows_its_end() {
        let view = View { top: -100_000.0, ..SCREEN };
        assert_eq!(view.in_view(200), 200..200);
        assert_eq!(view.in_document(200), 170..200);
    }
}
