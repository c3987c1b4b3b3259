//! What can be watched, and by whom: every live table of the product, once.

use crate::customers::Customers;
use crate::orders::Orders;
use crate::projects::Projects;
use crate::tenancy::{Members, Module};
use millstream::hub::Registry;

/// All live tables. The server refuses to start where the database does not have their triggers.
pub fn registry() -> Registry {
    Registry::default()
        .sessions("sessions")
        .rights("memberships")
        .rights("role_permissions")
        .presence(Module::Members.name())
        .list::<Members>(Module::Members.name())
        .list::<Customers>(Module::Customers.name())
        .list::<Orders>(Module::Sales.name())
        .record::<Orders>(Module::Sales.name())
        .list::<Projects>(Module::Projects.name())
        .record::<Projects>(Module::Projects.name())
}
