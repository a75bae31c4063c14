"""In a project only one element has a trigger word, whatever its case."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the key by which triggers are compared."""
    # Nothing could make elements before: there are no rows to fill.
    with op.batch_alter_table("elements", schema=None) as batch_op:
        batch_op.add_column(sa.Column("trigger_key", sa.String(), nullable=False))
        batch_op.create_unique_constraint(
            batch_op.f("uq_elements_project_id_trigger_key"), ["project_id", "trigger_key"]
        )


def downgrade() -> None:
    """Takes it back."""
    with op.batch_alter_table("elements", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("uq_elements_project_id_trigger_key"), type_="unique")
        batch_op.drop_column("trigger_key")
