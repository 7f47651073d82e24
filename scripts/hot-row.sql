WITH taken AS (
	UPDATE products SET stock = stock - 1 WHERE id = :product AND stock >= 1 RETURNING price_cents
)
INSERT INTO orders (user_id, product_id, quantity, total_cents, status, idempotency_key, request_hash)
SELECT 1, :product, 1, price_cents, 'created', gen_random_uuid()::text, sha256(random()::text::bytea) FROM taken
RETURNING id, total_cents, created_at;
