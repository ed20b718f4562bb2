//! What to do about a wanted token. Pure.

use crate::refresh::Access;
use crate::refresh::Want;
use crate::secret::AccessToken;
use crate::store::ledger::Remembered;

/// How far the wall clock may stand before the moment at which a token was obtained, in seconds.
pub const CLOCK_TOLERANCE: u64 = 60;

/// The shortest time between two refreshes of a token that is still valid, in seconds.
const MIN_PAUSE: u64 = 30;

/// What to do about a wanted token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Serve the token at hand.
    Use,
    /// Serve it too, but it is time that somebody refreshed it.
    UseAndRefresh,
    /// Refresh; only then is there a token to serve.
    Refresh,
    /// There is nothing to refresh with.
    LoginRequired,
    /// The provider said no, and need not be asked again yet.
    Refused,
}

/// One moment, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock, in Unix seconds.
    pub now: u64,
    /// The boot.
    pub boot_id: [u8; 16],
    /// The boot-time clock, in seconds.
    pub since_boot: u64,
}

/// Decides.
pub fn decide(
    moment: &Moment,
    access: Option<&Access>,
    has_grant: bool,
    refusal: Option<&Remembered>,
    want: &Want,
) -> Decision {
    let usable = access.filter(|access| {
        is_valid(moment, access)
            && want.reject.is_none_or(|rejected| AccessToken::fingerprint(&access.token) != rejected)
    });
    let refused = refusal.is_some_and(|refusal| moment.now < refusal.until && !want.force && !want.insists);
    let Some(access) = usable else {
        return match (has_grant, refused) {
            (false, _) => Decision::LoginRequired,
            (true, true) => Decision::Refused,
            (true, false) => Decision::Refresh,
        };
    };
    if !has_grant {
        return Decision::Use;
    }
    if want.force {
        return Decision::Refresh;
    }
    let left = access.expires_at - moment.now;
    let due = left < want.min_ttl || moment.now >= access.early_at;
    let rested = moment.now.saturating_sub(access.obtained_at) >= pause(access);
    if due && rested && !refused { Decision::UseAndRefresh } else { Decision::Use }
}

/// Returns how many seconds lie between two refreshes of a token while it is valid, also of those
/// that fail.
pub(super) fn pause(access: &Access) -> u64 {
    MIN_PAUSE.max(access.lifetime / 10)
}

/// Returns whether a token has not expired by either clock, also right after a suspend and after
/// the wall clock jumped either way.
pub fn is_valid(moment: &Moment, access: &Access) -> bool {
    let by_wall =
        moment.now.saturating_add(CLOCK_TOLERANCE) >= access.obtained_at && moment.now < access.expires_at;
    let by_boot = access.boot_id != moment.boot_id
        || moment.since_boot.checked_sub(access.since_boot).is_some_and(|elapsed| elapsed < access.lifetime);
    by_wall && by_boot
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OBTAINED: u64 = 1_800_000_000;

    fn access() -> Access {
        Access {
            token: AccessToken::new("token"),
            token_type: "Bearer".into(),
            scopes: vec![],
            client_id: None,
            obtained_at: OBTAINED,
            expires_at: OBTAINED + 3600,
            lifetime: 3600,
            early_at: OBTAINED + 2700,
            boot_id: [1; 16],
            since_boot: 100,
        }
    }

    fn after(seconds: u64) -> Moment {
        Moment { now: OBTAINED + seconds, boot_id: [1; 16], since_boot: 100 + seconds }
    }

    fn refusal(until: u64) -> Remembered {
        Remembered {
            key: String::new(),
            error: "invalid_grant".into(),
            description: None,
            date: None,
            count: 1,
            at: 0,
            until,
        }
    }

    #[test]
    fn a_token_is_served_until_it_is_due() {
        let held = access();
        let at = |seconds| decide(&after(seconds), Some(&held), true, None, &Want::default());
        assert_eq!(at(0), Decision::Use);
        assert_eq!(at(2699), Decision::Use);
        assert_eq!(at(2700), Decision::UseAndRefresh);
        assert_eq!(at(3599), Decision::UseAndRefresh);
        assert_eq!(at(3600), Decision::Refresh);
    }

    #[test]
    fn without_a_grant_a_token_is_served_to_its_end() {
        let held = access();
        let at = |seconds| decide(&after(seconds), Some(&held), false, None, &Want::default());
        assert_eq!(at(3599), Decision::Use);
        assert_eq!(at(3600), Decision::LoginRequired);
        assert_eq!(decide(&after(0), None, false, None, &Want::default()), Decision::LoginRequired);
    }

    #[test]
    fn min_ttl_cannot_make_a_busy_loop() {
        let held = access();
        let want = Want { min_ttl: 10_000, ..Want::default() };
        assert_eq!(decide(&after(359), Some(&held), true, None, &want), Decision::Use);
        assert_eq!(decide(&after(360), Some(&held), true, None, &want), Decision::UseAndRefresh);
    }

    #[test]
    fn whoever_wants_a_token_for_longer_has_it_refreshed_earlier() {
        let held = access();
        let want = Want { min_ttl: 1800, ..Want::default() };
        assert_eq!(decide(&after(1800), Some(&held), true, None, &want), Decision::Use);
        assert_eq!(decide(&after(1801), Some(&held), true, None, &want), Decision::UseAndRefresh);
    }

    #[test]
    fn between_two_refreshes_of_a_short_token_lies_half_a_minute() {
        let held = Access { lifetime: 100, expires_at: OBTAINED + 100, early_at: OBTAINED + 10, ..access() };
        let at = |seconds| decide(&after(seconds), Some(&held), true, None, &Want::default());
        assert_eq!(at(29), Decision::Use);
        assert_eq!(at(30), Decision::UseAndRefresh);
    }

    #[test]
    fn a_rejected_token_is_refreshed_at_once_and_another_is_served() {
        let held = access();
        let want = Want { reject: Some(held.token.fingerprint()), ..Want::default() };
        assert_eq!(decide(&after(1), Some(&held), true, None, &want), Decision::Refresh);
        let want = Want { reject: Some(AccessToken::new("older").fingerprint()), ..Want::default() };
        assert_eq!(decide(&after(1), Some(&held), true, None, &want), Decision::Use);
    }

    #[test]
    fn a_refusal_is_not_asked_for_again_unless_forced() {
        let held = access();
        let no = refusal(OBTAINED + 5000);
        let want = Want::default();
        assert_eq!(decide(&after(4000), Some(&held), true, Some(&no), &want), Decision::Refused);
        assert_eq!(decide(&after(5000), Some(&held), true, Some(&no), &want), Decision::Refresh);
        // A still-valid token is served whatever a refresh says.
        assert_eq!(decide(&after(3000), Some(&held), true, Some(&no), &want), Decision::Use);
        for want in [Want { force: true, ..Want::default() }, Want { insists: true, ..Want::default() }] {
            assert_eq!(decide(&after(4000), Some(&held), true, Some(&no), &want), Decision::Refresh);
        }
    }

    #[test]
    fn clocks_that_jump_serve_nothing_expired() {
        let held = access();
        // The wall clock was set back by two hours while the machine slept through the lifetime.
        let slept = Moment { now: OBTAINED, boot_id: [1; 16], since_boot: 100 + 7200 };
        assert!(!is_valid(&slept, &held));
        // The token was obtained with a clock that was an hour ahead, corrected since.
        let corrected = Moment { now: OBTAINED - 3600, boot_id: [1; 16], since_boot: 110 };
        assert!(!is_valid(&corrected, &held));
        // A wall clock that is a minute behind is one that is forgiven.
        let behind = |seconds| Moment { now: OBTAINED - seconds, ..after(0) };
        assert!(is_valid(&behind(60), &held));
        assert!(!is_valid(&behind(61), &held));
        // It was set back by seconds only, and the token is over by the other clock.
        let late = |since_boot| Moment { now: OBTAINED + 3590, ..after(since_boot) };
        assert!(is_valid(&late(3599), &held));
        assert!(!is_valid(&late(3600), &held));
        // After a restart only the wall clock counts.
        let restarted = Moment { now: OBTAINED + 10, boot_id: [2; 16], since_boot: 5 };
        assert!(is_valid(&restarted, &held));
        assert!(is_valid(&Moment { now: OBTAINED + 3599, ..restarted }, &held));
        assert!(!is_valid(&Moment { now: OBTAINED + 3600, ..restarted }, &held));
        // A boot-time clock before the moment of issue is another one.
        let odd = Moment { now: OBTAINED + 10, boot_id: [1; 16], since_boot: 5 };
        assert!(!is_valid(&odd, &held));
    }

    proptest! {
        #[test]
        fn nothing_expired_is_ever_served(
            now in OBTAINED - 10_000..OBTAINED + 20_000,
            since_boot in 0..30_000_u64,
            min_ttl in 0..10_000_u64,
            force: bool,
            has_grant: bool,
        ) {
            let held = access();
            let moment = Moment { now, boot_id: [1; 16], since_boot };
            let want = Want { min_ttl, force, ..Want::default() };
            let decision = decide(&moment, Some(&held), has_grant, None, &want);
            if matches!(decision, Decision::Use | Decision::UseAndRefresh) {
                prop_assert!(now < held.expires_at);
                prop_assert!(since_boot < 100 + held.lifetime);
            }
        }
    }
}
