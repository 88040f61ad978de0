//! Memory is looked at when it is given back: what a secret leaves there, others may find later.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// How many octets of a secret are looked for.
pub const TRACE_OCTETS: usize = 16;

thread_local! {
    /// Zero while nothing is looked for.
    static TRACE: Cell<[u8; TRACE_OCTETS]> = const { Cell::new([0; TRACE_OCTETS]) };
    static FOUND: Cell<usize> = const { Cell::new(0) };
}

/// Does something, and tells how many pieces of memory this thread has given back meanwhile with these octets in them.
pub fn left_behind(trace: &[u8], run: impl FnOnce()) -> usize {
    FOUND.set(0);
    TRACE.set(trace.try_into().expect("as many as are looked for"));
    run();
    TRACE.set([0; TRACE_OCTETS]);
    FOUND.get()
}

#[global_allocator]
static WATCHING: Watching = Watching;

/// The system's, which does not grow memory in place either: that may leave the old one.
struct Watching;

// SAFETY: all memory is the system's, which is asked for what is asked for here.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // It is read before anybody may have written all of it.
        // SAFETY: by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        let trace = TRACE.get();
        if trace != [0; TRACE_OCTETS] {
            // SAFETY: by the caller it is as large, and nobody uses it any more.
            let given_back = unsafe { std::slice::from_raw_parts(memory, layout.size()) };
            let has_it = given_back.windows(TRACE_OCTETS).any(|octets| octets == trace);
            FOUND.set(FOUND.get() + usize::from(has_it));
        }
        // SAFETY: by the caller.
        unsafe { System.dealloc(memory, layout) }
    }
}
