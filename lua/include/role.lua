-- The role in a user's field of the members, and whether the user is away. Gives role_of, is_away, and what may_speak
-- gives.
--- @include "may_speak"

local function role_of(value)
    return value and value:match("^%a+")
end

local function is_away(value)
    return is_member(value) and not HERE[value]
end
