//! Who else gets a message, and who has moved: sender_bcc_maps, recipient_bcc_maps, relocated_maps.

use crate::Rewriter;
use crate::mapping::unanswered;
use proto::Address;
use tables::{Hit, Maps};

impl Rewriter {
    /// Who gets a copy of mail from a completed, mapped sender (`sender_bcc_maps`).
    pub fn copy_of_sender(&self, sender: &Address) -> Result<Option<Address>, String> {
        self.copy(&self.maps.sender_bcc, sender)
    }

    /// Whether recipients may have copies at all.
    pub fn copies_recipients(&self) -> bool {
        !self.maps.recipient_bcc.is_empty()
    }

    /// Who gets a copy of mail to a completed, mapped recipient (`recipient_bcc_maps`).
    pub fn copy_of_recipient(&self, recipient: &Address) -> Result<Option<Address>, String> {
        self.copy(&self.maps.recipient_bcc, recipient)
    }

    fn copy(&self, maps: &Maps, address: &Address) -> Result<Option<Address>, String> {
        let found = self.search(maps, address, true).map_err(|e| unanswered(maps.parameter(), &e))?;
        Ok(found.map(|(hit, _)| Address::from_internal(hit.value.trim())))
    }

    /// Where an address has moved to (`relocated_maps`): what its sender is told.
    pub fn relocated(&self, address: &Address) -> Result<Option<Hit>, tables::TableError> {
        Ok(self.search(&self.maps.relocated, address, true)?.map(|(hit, _)| hit))
    }
}
