-- The role in a user's field of the members, and whether the user is away. Gives role_of, is_away, is_inviting, and what
-- may_speak gives.
--- @include "may_speak"

local function role_of(value)
    return value and value:match("^%a+")
end

local function is_away(value)
    return value and value:find(" away", 1, true) ~= nil
end

-- The user's client was sent an INVITE, or will be when the user is back: until then it gets nothing.
local function is_inviting(value)
    return value and value:find(" inviting", 1, true) ~= nil
end
