//! What a client sends to `/live`, by WebSocket and by HTTP, and to `/api/batch`.
#![no_main]

use fuzz::reads_back;
use libfuzzer_sys::fuzz_target;
use millstream::wire::{Batch, ClientFrame, Question};

fuzz_target!(|bytes: &[u8]| {
    reads_back::<ClientFrame>(bytes);
    reads_back::<Question>(bytes);
    // Its calls are passed on as the texts that they are.
    if let Ok(batch) = serde_json::from_slice::<Batch>(bytes) {
        let written = serde_json::to_string(&batch).expect("what was read can be written");
        let again: Batch = serde_json::from_str(&written).expect("what was written can be read");
        assert_eq!(again.calls.len(), batch.calls.len());
        for (again, call) in again.calls.iter().zip(&batch.calls) {
            assert_eq!((&again.function, again.arguments.get()), (&call.function, call.arguments.get()));
        }
    }
});
