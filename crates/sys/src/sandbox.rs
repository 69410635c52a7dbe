//! Giving up what a network-facing process never needs.

use std::path::Path;

/// What is in force, for one line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// `yes`, `partly`, or why not.
    pub landlock: String,
    /// `yes`, or why not.
    pub seccomp: String,
}

/// Confines this process: it may write only below `writable`, read anywhere (file permissions
/// decide), and execute nothing. Call before threads are started; what the kernel lacks is left
/// out and said so. Never undone.
pub fn confine(writable: &[&Path]) -> InForce {
    InForce { landlock: landlock_rules(writable), seccomp: seccomp_filter() }
}

fn landlock_rules(writable: &[&Path]) -> String {
    use landlock::{
        ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, path_beneath_rules,
    };
    let abi = ABI::V5;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::from_all(abi) & !AccessFs::Execute;
    let made = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))
        .and_then(|r| r.create())
        .and_then(|r| r.add_rules(path_beneath_rules(["/"], read)))
        .and_then(|r| r.add_rules(path_beneath_rules(writable, write)))
        .and_then(|r| r.restrict_self());
    match made.map(|s| s.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => "yes".into(),
        Ok(RulesetStatus::PartiallyEnforced) => "partly".into(),
        Ok(RulesetStatus::NotEnforced) => "no (not in this kernel)".into(),
        Err(e) => format!("no ({e})"),
    }
}

fn seccomp_filter() -> String {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter_all_threads};
    let denied = [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_io_uring_setup,
    ];
    let rules = denied.iter().map(|n| (*n, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let program = std::env::consts::ARCH
        .try_into()
        .and_then(|arch| SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch))
        .and_then(BpfProgram::try_from);
    match program.map(|p| apply_filter_all_threads(&p)) {
        Ok(Ok(())) => "yes".into(),
        Ok(Err(e)) => format!("no ({e})"),
        Err(e) => format!("no ({e})"),
    }
}
