//! A new migration is a new binary: sqlx takes them in at compile time.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
