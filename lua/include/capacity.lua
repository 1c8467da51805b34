-- Whether the room has its maximum of members. Invitations count, so that every invited user can join. Needs
-- members, max_members. Gives is_full.
max_members = tonumber(max_members)
local is_full = max_members > 0 and redis.call("HLEN", members) >= max_members
