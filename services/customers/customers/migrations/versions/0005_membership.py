"""Membership cards and their points ledger; what customers are worth.

The ledger holds itself: a posting is one row with a column for each account, and their sum is zero; it begins with the balance
at which the card's posting before it ended, and the card's own balance is that of its last posting. The rows of the ledger can be
written and read, and neither changed nor removed.
"""

from alembic import op

from chassis.schema import protect

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_RECORD = """
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    created_by uuid NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by uuid NOT NULL,
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, id),
"""
_PROGRAMMES = """
    enabled boolean NOT NULL,
    enable_time timestamptz,
    earn_moment text NOT NULL CHECK (earn_moment IN ('AFTER_DELIVERY', 'AT_PLACING')),
    validity_months integer NOT NULL CHECK (validity_months >= 0),
    level_months integer NOT NULL CHECK (level_months >= 0),
    redemption_points bigint NOT NULL CHECK (redemption_points >= 0),
    redemption_value bigint CHECK (redemption_value > 0),
    redemption_value_currency text NOT NULL,
    levels jsonb NOT NULL,
    rules jsonb NOT NULL,
    CHECK (NOT enabled OR enable_time IS NOT NULL),
    CHECK ((redemption_value IS NULL) = (redemption_value_currency = '')),
    CHECK ((redemption_value IS NULL) = (redemption_points = 0))
"""
_CARDS = """
    owner_id uuid,
    team_id uuid,
    customer_id uuid NOT NULL,
    number text NOT NULL CHECK (number <> ''),
    state text NOT NULL CHECK (state IN ('ACTIVE', 'BLOCKED', 'EXPIRED')),
    expire_date date,
    level_id uuid,
    previous_numbers text[] NOT NULL,
    block_reason text NOT NULL,
    balance bigint NOT NULL CHECK (balance >= 0),
    owed bigint NOT NULL CHECK (owed >= 0),
    sequence bigint,
    FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id),
    CHECK (sequence IS NOT NULL OR (balance = 0 AND owed = 0))
"""
_NUMBERS = """
    tenant_id uuid NOT NULL,
    number text NOT NULL,
    card_id uuid NOT NULL,
    CONSTRAINT card_numbers_once PRIMARY KEY (tenant_id, number),
    FOREIGN KEY (tenant_id, card_id) REFERENCES membership_cards (tenant_id, id)
"""
_TRANSACTIONS = """
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    card_id uuid NOT NULL,
    sequence bigint NOT NULL,
    previous_sequence bigint,
    kind text NOT NULL CHECK (kind IN ('EARN', 'REDEEM', 'EXPIRE', 'ADJUST', 'TAKE_BACK', 'GIVE_BACK')),
    issued bigint NOT NULL,
    member bigint NOT NULL,
    redeemed bigint NOT NULL,
    expired bigint NOT NULL,
    adjusted bigint NOT NULL,
    owing bigint NOT NULL,
    balance_before bigint NOT NULL,
    balance bigint NOT NULL CHECK (balance >= 0),
    owed_before bigint NOT NULL,
    owed bigint NOT NULL CHECK (owed >= 0),
    order_id uuid,
    order_number text NOT NULL,
    reverses_id uuid,
    value bigint,
    value_currency text NOT NULL,
    reason text NOT NULL,
    expire_date date,
    created_at timestamptz NOT NULL,
    created_by uuid NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT points_add_up_to_zero CHECK (issued + member + redeemed + expired + adjusted + owing = 0),
    CONSTRAINT points_balance_follows CHECK (balance = balance_before + member),
    CONSTRAINT points_owed_follows CHECK (owed = owed_before - owing),
    CONSTRAINT points_begin_with_nothing CHECK (
        CASE WHEN sequence = 1 THEN previous_sequence IS NULL AND balance_before = 0 AND owed_before = 0
        ELSE sequence > 1 AND previous_sequence = sequence - 1 END
    ),
    UNIQUE (tenant_id, card_id, sequence),
    CONSTRAINT points_chain UNIQUE (tenant_id, card_id, sequence, balance, owed),
    CONSTRAINT points_follow_each_other FOREIGN KEY (tenant_id, card_id, previous_sequence, balance_before, owed_before)
        REFERENCES points_transactions (tenant_id, card_id, sequence, balance, owed),
    FOREIGN KEY (tenant_id, card_id) REFERENCES membership_cards (tenant_id, id),
    FOREIGN KEY (tenant_id, reverses_id) REFERENCES points_transactions (tenant_id, id)
"""
_LOTS = """
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    card_id uuid NOT NULL,
    points bigint NOT NULL CHECK (points > 0),
    remaining bigint NOT NULL,
    expire_date date,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CHECK (remaining BETWEEN 0 AND points),
    FOREIGN KEY (tenant_id, id) REFERENCES points_transactions (tenant_id, id),
    FOREIGN KEY (tenant_id, card_id) REFERENCES membership_cards (tenant_id, id)
"""
_MOVES = """
    tenant_id uuid NOT NULL,
    transaction_id uuid NOT NULL,
    lot_id uuid NOT NULL,
    points bigint NOT NULL CHECK (points <> 0),
    PRIMARY KEY (tenant_id, transaction_id, lot_id),
    FOREIGN KEY (tenant_id, transaction_id) REFERENCES points_transactions (tenant_id, id),
    FOREIGN KEY (tenant_id, lot_id) REFERENCES points_lots (tenant_id, id)
"""
_DECIDED = """
    tenant_id uuid NOT NULL,
    order_id uuid NOT NULL,
    card_id uuid NOT NULL,
    decided_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, order_id),
    FOREIGN KEY (tenant_id, card_id) REFERENCES membership_cards (tenant_id, id)
"""
_ORDERS = """
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    version integer NOT NULL,
    event_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    cancelled boolean NOT NULL,
    currency text NOT NULL,
    revenue bigint NOT NULL,
    order_date date NOT NULL,
    PRIMARY KEY (tenant_id, id)
"""
_OPPORTUNITIES = """
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    month date NOT NULL,
    version integer NOT NULL,
    event_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    open boolean NOT NULL,
    currency text NOT NULL,
    potential bigint NOT NULL,
    PRIMARY KEY (tenant_id, id, month)
"""
_VALUES = """
    tenant_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    order_count integer NOT NULL,
    last_order_date date,
    recency smallint,
    frequency smallint,
    monetary smallint,
    tier smallint,
    PRIMARY KEY (tenant_id, customer_id)
"""
_AMOUNTS = """
    tenant_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    currency text NOT NULL,
    order_count integer NOT NULL,
    revenue bigint NOT NULL,
    potential bigint NOT NULL,
    PRIMARY KEY (tenant_id, customer_id, currency)
"""
_MONTHS = """
    tenant_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    month date NOT NULL,
    order_count integer NOT NULL,
    total_order_count integer NOT NULL,
    amounts jsonb NOT NULL,
    recency smallint,
    frequency smallint,
    monetary smallint,
    tier smallint,
    PRIMARY KEY (tenant_id, customer_id, month)
"""
_REVIEWS = """
    tenant_id uuid NOT NULL PRIMARY KEY,
    review_from date NOT NULL,
    reviewing date,
    stale boolean NOT NULL,
    reviewed_at timestamptz
"""
_CURRENCIES = """
    tenant_id uuid NOT NULL PRIMARY KEY,
    currency text NOT NULL,
    version integer NOT NULL,
    event_id uuid NOT NULL
"""


def upgrade() -> None:
    op.execute(f"CREATE TABLE membership_programmes ({_RECORD}{_PROGRAMMES})")
    op.execute(f"CREATE TABLE membership_cards ({_RECORD}{_CARDS})")
    op.execute(
        "CREATE UNIQUE INDEX membership_cards_customer ON membership_cards (tenant_id, customer_id) WHERE deleted_at IS NULL"
    )
    for column in ("created_at", "updated_at", "number", "balance"):
        op.execute(
            f"CREATE INDEX membership_cards_{column} ON membership_cards (tenant_id, {column}, id) WHERE deleted_at IS NULL"
        )
    op.execute(
        "CREATE INDEX membership_cards_ending ON membership_cards (tenant_id, expire_date) WHERE state = 'ACTIVE'"
    )
    op.execute(f"CREATE TABLE card_numbers ({_NUMBERS})")
    op.execute(f"CREATE TABLE points_transactions ({_TRANSACTIONS})")
    op.execute(
        "CREATE UNIQUE INDEX points_transactions_order_once ON points_transactions (tenant_id, order_id) WHERE kind = 'EARN'"
    )
    op.execute(
        "CREATE UNIQUE INDEX points_transactions_reversed_once ON points_transactions (tenant_id, reverses_id)"
        " WHERE reverses_id IS NOT NULL"
    )
    op.execute(
        "CREATE INDEX points_transactions_order ON points_transactions (tenant_id, order_id) WHERE order_id IS NOT NULL"
    )
    # Checked at the commit, for the posting is written after the card it is posted on.
    op.execute(
        "ALTER TABLE membership_cards ADD CONSTRAINT card_balance_is_the_ledgers"
        " FOREIGN KEY (tenant_id, id, sequence, balance, owed)"
        " REFERENCES points_transactions (tenant_id, card_id, sequence, balance, owed) DEFERRABLE INITIALLY DEFERRED"
    )
    op.execute(f"CREATE TABLE points_lots ({_LOTS})")
    op.execute(
        "CREATE INDEX points_lots_left ON points_lots (tenant_id, card_id, expire_date, id) WHERE remaining > 0"
    )
    op.execute("CREATE INDEX points_lots_due ON points_lots (tenant_id, expire_date) WHERE remaining > 0")
    op.execute(f"CREATE TABLE points_lot_moves ({_MOVES})")
    op.execute("CREATE INDEX points_lot_moves_lot ON points_lot_moves (tenant_id, lot_id)")
    op.execute(f"CREATE TABLE points_orders ({_DECIDED})")
    op.execute(f"CREATE TABLE customer_orders ({_ORDERS})")
    op.execute("CREATE INDEX customer_orders_customer ON customer_orders (tenant_id, customer_id)")
    op.execute(f"CREATE TABLE customer_opportunities ({_OPPORTUNITIES})")
    op.execute(
        "CREATE INDEX customer_opportunities_customer ON customer_opportunities (tenant_id, customer_id)"
    )
    op.execute(f"CREATE TABLE customer_values ({_VALUES})")
    op.execute(f"CREATE TABLE customer_amounts ({_AMOUNTS})")
    op.execute(f"CREATE TABLE customer_value_months ({_MONTHS})")
    op.execute("CREATE INDEX customer_value_months_month ON customer_value_months (tenant_id, month)")
    op.execute(f"CREATE TABLE value_reviews ({_REVIEWS})")
    op.execute(f"CREATE TABLE main_currencies ({_CURRENCIES})")
    for table in ("points_transactions", "points_lot_moves", "points_orders", "card_numbers"):
        protect(table, app="SELECT, INSERT")
    protect("points_lots", app="SELECT, INSERT, UPDATE")
    for table in (
        "membership_programmes", "membership_cards", "customer_orders", "customer_opportunities", "customer_values",
        "customer_amounts", "customer_value_months", "value_reviews", "main_currencies",
    ):  # fmt: skip
        protect(table)


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
