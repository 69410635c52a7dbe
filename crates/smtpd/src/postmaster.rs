//! Notices to the postmaster about what went wrong in a session (`notify_classes`). They enter the
//! queue as all mail does; when they cannot, the log says so and nobody else hears of it.

use crate::backend::{Backend, Incoming};
use crate::events::NoticeFailed;
use crate::session::Session;
use cleanup::{Origin, Source};
use config::params::bounce::Bounce;
use config::params::main::Main;
use proto::Address;
use proto::date::DateTime;
use proto::envelope::Notify;
use proto::smtp::server::{Faults, Transcript};

/// Who hears what.
pub(crate) struct Postmaster {
    /// The classes of trouble in sessions that are told.
    pub(crate) classes: Faults,
    sender: String,
    errors: String,
    bounces: String,
    daemon: String,
    mail_name: String,
}

impl Postmaster {
    pub(crate) fn new(main: &Main, bounce: &Bounce) -> Postmaster {
        let classes = bounce.notify_classes().0.iter().filter_map(|name| Faults::named(name));
        let here = |name: &str| format!("{name}@{}", main.myhostname());
        Postmaster {
            classes: classes.fold(Faults::NONE, |all, one| all | one),
            sender: here(main.double_bounce_sender()),
            errors: bounce.error_notice_recipient().clone(),
            bounces: bounce.bounce_notice_recipient().clone(),
            daemon: here("MAILER-DAEMON"),
            mail_name: main.mail_name().clone(),
        }
    }

    /// Refused mail is told to those who hear of bounces; the header names the other address all
    /// the same, as in Postfix.
    fn recipient(&self, faults: Faults) -> &str {
        let bounce = Faults::BOUNCE.meets(faults) && Faults::BOUNCE.meets(self.classes);
        if bounce { &self.bounces } else { &self.errors }
    }

    fn headers(&self, client: &str, date: &DateTime) -> String {
        format!(
            "Date: {}\r\nFrom: Mail Delivery System <{}>\r\nTo: Postmaster <{}>\r\n\
             Subject: {} SMTP server: errors from {client}\r\n\r\n",
            date.rfc5322(),
            self.daemon,
            self.errors,
            self.mail_name
        )
    }
}

impl<B: Backend> Session<B> {
    /// Tells the postmaster.
    pub(crate) async fn tell(&mut self, transcript: Transcript, aborted: Option<&str>) {
        let service = self.service.clone();
        let postmaster = &service.postmaster;
        let now = sys::time::now_micros();
        let sender = Address::from_internal(&postmaster.sender);
        let mut origin = Origin::new(Source::Internal, sender, now);
        origin.number = self.source.number();
        (origin.notice, origin.class) = (true, Some("notify"));
        origin.service.clone_from(service.smtpd.cleanup_service_name());
        let seconds = (now / 1_000_000) as i64;
        let zone = sys::time::zone_at(seconds);
        let date = DateTime::new(seconds, zone.offset, &zone.name);
        let recipient = postmaster.recipient(transcript.faults);
        let mut notice = service.backend.begin(origin);
        notice.recipient(Address::from_internal(recipient), None, Notify::default());
        notice.write(postmaster.headers(&self.label, &date).as_bytes()).await;
        notice.write(transcript.notice(aborted).as_bytes()).await;
        if let Err(refused) = notice.finish(None).await {
            self.source.say(&NoticeFailed { why: refused.text });
        }
    }
}
