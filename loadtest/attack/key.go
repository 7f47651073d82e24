package attack

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"time"
)

// keyLen is the length of a key's text.
const keyLen = 36

// keySource makes the idempotency keys of one user: UUIDs of version 7 (RFC 9562,
// section 5.7), which begin with the time in milliseconds. Keys that come in the
// order of time land side by side in the service's unique index; random ones each
// touch another page of it. The rest is random and not seeded by Config.Seed, for a
// second run with the same seed must not repeat the keys of the first: the service
// would rightly answer it with the first run's orders.
type keySource struct{ rng *rand.PCG }

func newKeySource() keySource {
	return keySource{rng: rand.NewPCG(rand.Uint64(), rand.Uint64())}
}

// next returns a key that no other call has returned.
func (s keySource) next() (key [16]byte) {
	binary.BigEndian.PutUint64(key[:8], uint64(time.Now().UnixMilli())<<16|s.rng.Uint64()&0xffff)
	binary.BigEndian.PutUint64(key[8:], s.rng.Uint64())
	key[6] = key[6]&0x0f | 0x70
	key[8] = key[8]&0x3f | 0x80
	return key
}

// putKey writes the canonical text of key into dst[:keyLen].
func putKey(dst []byte, key [16]byte) {
	_ = dst[keyLen-1]
	hex.Encode(dst[0:8], key[0:4])
	dst[8] = '-'
	hex.Encode(dst[9:13], key[4:6])
	dst[13] = '-'
	hex.Encode(dst[14:18], key[6:8])
	dst[18] = '-'
	hex.Encode(dst[19:23], key[8:10])
	dst[23] = '-'
	hex.Encode(dst[24:36], key[10:16])
}

// KeyString returns the canonical text of a key, which is what is sent as
// Idempotency-Key and stored by the service.
func KeyString(key [16]byte) string {
	var text [keyLen]byte
	putKey(text[:], key)
	return string(text[:])
}
