-- The sender's invitation is declined. Needs what refuse needs. Gives decline.
--- @include "member_state"
local function decline()
    commit()
    forget_member(request.from)
    tell("denied", { request.from }, here(IN_CHARGE))
    return "done"
end
