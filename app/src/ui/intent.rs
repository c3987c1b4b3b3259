//! What somebody is about to open: a link that they rest on, or have come to by keyboard.

#[cfg(feature = "hydrate")]
use {gloo_timers::callback::Timeout, std::cell::RefCell};

/// A pointer that rests so long on a link, in milliseconds, is not just passing over it.
#[cfg(feature = "hydrate")]
const RESTS: u32 = 60;

#[cfg(feature = "hydrate")]
thread_local! {
    static INTENT: RefCell<Option<Timeout>> = const { RefCell::new(None) };
}

/// Does it in a moment, unless another is intended by then: whoever sweeps over a list intends one row.
pub fn intend(act: impl FnOnce() + 'static) {
    #[cfg(feature = "hydrate")]
    INTENT.with(|intent| *intent.borrow_mut() = Some(Timeout::new(RESTS, act)));
    #[cfg(not(feature = "hydrate"))]
    drop(act);
}
