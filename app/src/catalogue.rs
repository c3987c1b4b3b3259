//! What the pages read and write, by name: so that one tab can fetch for another, and what was kept by one page is read
//! by the next.

use crate::customers::Customers;
use crate::orders::Orders;
use crate::orders::mutations::{CreateOrder, DeleteOrder, EditLine, RestoreOrder, UpdateOrder};
use crate::projects::Projects;
use crate::projects::mutations::{DeleteProject, EditProject, RestoreProject};
use crate::tenancy::Members;
use crate::tenancy::mutations::{RemoveMember, SetRole};
use millstream::Catalogue;

/// All queries and mutations. A mutation that is not named here is lost with the page that made it.
pub fn catalogue() -> Catalogue {
    Catalogue::default()
        .list::<Members>()
        .list::<Customers>()
        .list::<Orders>()
        .record::<Orders>()
        .list::<Projects>()
        .record::<Projects>()
        .mutation::<SetRole>()
        .mutation::<RemoveMember>()
        .mutation::<CreateOrder>()
        .mutation::<UpdateOrder>()
        .mutation::<DeleteOrder>()
        .mutation::<RestoreOrder>()
        .mutation::<EditLine>()
        .mutation::<EditProject>()
        .mutation::<DeleteProject>()
        .mutation::<RestoreProject>()
}
