-- Room for one more? Needs members, max_members. Invitations count, so that every invited one can come in.
max_members = tonumber(max_members)
local full = max_members > 0 and redis.call("HLEN", members) >= max_members
