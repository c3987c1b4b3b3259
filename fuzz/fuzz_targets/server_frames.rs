//! What a page reads: frames, answers and errors.
#![no_main]

use fuzz::reads_back;
use libfuzzer_sys::fuzz_target;
use millstream::ApiError;
use millstream::wire::{Read, Reply, ServerFrame, Written};

fuzz_target!(|bytes: &[u8]| {
    reads_back::<ServerFrame>(bytes);
    reads_back::<Reply>(bytes);
    reads_back::<ApiError>(bytes);
    reads_back::<Read<Vec<String>>>(bytes);
    reads_back::<Written<Option<String>>>(bytes);
});
