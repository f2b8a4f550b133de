//! `rackconnect`: see the library.

#![forbid(unsafe_code)]

/// See Cargo.toml.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ! {
    let exit = rackconnect_agent::main();
    // Nothing is left to be done at exit: output is not buffered, and std would only free the stack
    // of its SIGSEGV handler.
    signal_hook::low_level::exit(exit as i32)
}
