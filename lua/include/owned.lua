-- How many rooms somebody may own yet. Needs owned_rooms, owned_elsewhere, max_rooms_per_owner.
local owned = redis.call("SCARD", owned_rooms) + tonumber(owned_elsewhere)
local owns_enough = tonumber(max_rooms_per_owner) > 0 and owned >= tonumber(max_rooms_per_owner)
