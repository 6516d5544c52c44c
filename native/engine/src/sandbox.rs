//! What the engine can do without, given up before it reads anything that an attacker may have written: new programs, the
//! network, other processes, most of root's powers. What is left is the file system.

use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use std::collections::BTreeMap;

/// Modes, owners, names and handles of the backing directory; SYS_ADMIN for trusted.* and open_by_handle_at(2);
/// SYS_RESOURCE and IPC_LOCK for locked memory and reserved blocks; SETFCAP for security.capability.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::IPC_LOCK)
    .union(CapabilitySet::LEASE)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYS_NICE)
    .union(CapabilitySet::SYS_RESOURCE);

/// Refused with EPERM from here on. A list of what is forbidden: what a later libc or allocator needs must not end a mount.
const DENIED: [libc::c_long; 50] = [
    // New programs and connections
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // Other processes
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_setns,
    libc::SYS_unshare,
    // Another root, other mounts: SYS_ADMIN would allow them
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_fsconfig,
    libc::SYS_mount_setattr,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    // The kernel itself
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_personality,
    // Keyrings are not where our keys are
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
];

type Step = fn() -> Result<(), String>;

/// Returns what could not be had: a container may forbid it, and the mount is no worse than it was.
pub fn enter() -> Vec<String> {
    let steps: [(&str, Step); 4] = [
        ("an empty network namespace", leave_network),
        ("giving up capabilities", drop_capabilities),
        ("PR_SET_NO_NEW_PRIVS", no_new_privileges),
        ("the seccomp filter", filter_system_calls),
    ];
    let failed = steps.into_iter().filter_map(|(what, step)| Some(format!("sandbox: {what}: {}", step().err()?)));
    failed.collect()
}

/// Descriptors that are open stay so: the channels to the daemon are.
fn leave_network() -> Result<(), String> {
    // SAFETY: nothing but the network namespace is unshared; no memory or descriptor is concerned.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(|e| e.to_string())
}

fn drop_capabilities() -> Result<(), String> {
    let now = rustix::thread::capabilities(None).map_err(|e| e.to_string())?;
    for capability in CapabilitySet::all().difference(KEPT).iter() {
        // The kernel may not know it, or may not let us: what counts is that it is not among the permitted ones.
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    // Nor do the permitted ones pass on to a program.
    let _ = rustix::thread::clear_ambient_capability_set();
    let kept = CapabilitySets {
        effective: now.effective.intersection(KEPT),
        permitted: now.permitted.intersection(KEPT),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, kept).map_err(|e| e.to_string())
}

fn no_new_privileges() -> Result<(), String> {
    rustix::thread::set_no_new_privs(true).map_err(|e| e.to_string())
}

fn filter_system_calls() -> Result<(), String> {
    let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(|e| format!("{e}"))?;
    #[allow(clippy::useless_conversion, reason = "c_long is not i64 everywhere")]
    let rules: BTreeMap<i64, _> = DENIED.into_iter().map(|call| (i64::from(call), Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).map_err(|e| e.to_string())?;
    let program: BpfProgram = filter.try_into().map_err(|e: seccompiler::BackendError| e.to_string())?;
    seccompiler::apply_filter(&program).map_err(|e| e.to_string())
}
