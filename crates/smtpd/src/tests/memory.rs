//! What a session that only waits costs. Counted, not measured: these bounds hold on every machine of
//! 64 bits, and whoever must raise one should know why.

use super::*;

#[test]
fn a_waiting_session_is_small() {
    let world = world("");
    let (_client, session) = world.connect(HERE);
    let whole = size_of_val(&session);
    assert!(whole <= 3_300, "the task of a session has {whole} bytes");
}
