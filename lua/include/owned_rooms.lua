-- Whether a user owns as many rooms as it may. Needs owned_rooms, owned_elsewhere, max_rooms_per_owner. Gives
-- owns_maximum.
local owned = redis.call("SCARD", owned_rooms) + tonumber(owned_elsewhere)
local owns_maximum = tonumber(max_rooms_per_owner) > 0 and owned >= tonumber(max_rooms_per_owner)
