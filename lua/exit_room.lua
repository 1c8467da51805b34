-- The sender leaves. When the last owner leaves, the room is destroyed, or that is refused, or has to be confirmed
-- first (owner_exit). A client that leaves by BYE cannot be asked: then an admin, or else a member, becomes owner, unless
-- the room is to be destroyed. A chat of two ends when both have left. A BYE in a session that the room does not have ends
-- no stay; a device that has none here is invited again, but not without end if no ACK reaches it. A sender who is only
-- invited declines.
--
-- KEYS:
--   requests       imc:{S}:in                    stream
--   events         imc:{S}:out                   stream
--   rooms          imc_rooms:{S}                 sorted set
--   room           imc_rooms:{S}:ROOM            hash
--   members        imc_members:{S}:ROOM          hash
--   private_rooms  imc:{S}:private_rooms:SENDER  set
--   owned_rooms    imc:{S}:owned_rooms:SENDER    set
--   history        imc_history:{S}:ROOM          stream
--   history_off    imc:{S}:history_off           set
--
-- ARGV:
--   entry_id              the request's id in requests
--   delivery_chunk        recipients per event entry, at most
--   owner_exit            what the last owner's exit does: destroy; confirm: the same, if the owner is alone in the
--                         room or has confirmed it; refuse
--   announce_joins        1: all members hear of joins and leaves, unless the room says otherwise
--   private_rooms_prefix  imc:{S}:private_rooms:
--   owned_rooms_prefix    imc:{S}:owned_rooms:
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   left       to the sender, and to the other members unless the room is quiet
--   denied     to the sender, owners and admins: the sender was only invited
--   role_changed  to all members: one became owner, because the last one has left by BYE; user: that one, role: owner
--   destroyed  to all members, the sender too: it was the last owner
--   refused    to the sender: unknown_room, not_member, last_owner, confirm_exit
--   invite     to the device that has ended a session that the room does not have
local requests, events, rooms, room, members, private_rooms, owned_rooms, history, history_off = unpack(KEYS)
local entry_id, delivery_chunk, owner_exit, announce_joins, private_rooms_prefix, owned_rooms_prefix = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "decline"
--- @include "owners"
--- @include "of_two"
--- @include "destroy"
--- @include "announce"
--- @include "invite"
--- @include "unknown_session"
--- @include "readmit"
--- @include "resume_subscription"

assert(owned_rooms_prefix, "owner_exit, announce_joins and both prefixes")
redis.call("SCARD", private_rooms) -- is a set
redis.call("SCARD", owned_rooms)
redis.call("SCARD", history_off)
redis.call("XLEN", history) -- is a stream
local reason, former = refusal("member"), nil
local is_unknown, device, twin, twin_dialog = false, nil, nil, nil
if request.dialog then
    is_unknown, device, twin, twin_dialog = unknown_session()
end
for _, farewell in ipairs(request.dialog and farewells_in(request.room, request.from) or {}) do
    former = same_dialog(dialog_ids(farewell.dialog), dialog_ids(request.dialog)) and farewell or former
end

-- After commit. A device in the room has ended its session, because it got no ACK. It is invited by its own name, but not
-- without end.
local function invite_anew()
    local name = without_aor(device)
    local is_asked = count_unacknowledged(name)
    if device ~= name then
        forget_name(device)
    end
    if is_asked then
        send_invite(room, members, request.room, name, request.from)
    else
        redis.call("HDEL", room, "dialog:" .. device) -- that session has ended
    end
end

-- The session that ends is none by which the user is in the room: of an earlier stay (`former`), or unknown. The user stays.
local function stay()
    -- this device is not in the room, and shows it no longer
    local missing = former and without_aor(former.device) or not device and request.device
    local is_needed = missing and needs_invite(missing)
    commit()
    if twin then
        redis.call("HSET", room, "dialog:" .. twin, twin_dialog)
    end
    if former then
        drop_farewell(request.room, former.device)
    end
    if former and not reason then -- it may have accepted an INVITE, and then goes on with its subscription (let_in)
        resume_subscription(without_aor(former.device), former.dialog)
    end
    if is_needed then
        if former or count_unacknowledged(missing) then
            send_invite(room, members, request.room, missing, request.from)
        end
    elseif not former and not reason and device and not is_under_way(room, without_aor(device), "") then
        invite_anew()
    end
    return "done"
end

if former or is_unknown then
    return stay()
elseif sender_role == "invited" then
    return decline()
elseif reason then
    return refuse(reason)
end

local is_last_owner = sender_role == "owner" and #with_role({ owner = true }) == 1
local heir
if is_last_owner and request.dialog and owner_exit ~= "destroy" then
    local admins, others = with_role({ admin = true }), with_role({ member = true })
    table.sort(admins)
    table.sort(others)
    heir = admins[1] or others[1]
end
if is_last_owner and not heir then
    local is_asked_first = owner_exit == "confirm" and request.text ~= "confirm" and #with_role(RANK) > 1
    return (owner_exit == "refuse" and not request.dialog and refuse("last_owner"))
        or (is_asked_first and refuse("confirm_exit"))
        or destroy()
end

local other = request.dialog and other_of_two(request.from)
if other and has_left(other) then
    return destroy()
end

local owns_no_more = sender_role == "owner" and not owns_at_another_port(request.from)
if heir then
    redis.call("SCARD", owned_rooms_prefix .. without_port(heir)) -- is a set
end
commit()
local had_devices = dismiss(request.from, other ~= nil)
if other then
    leave_chat_of_two(request.from)
else
    forget_member(request.from)
    redis.call("SREM", private_rooms, request.room)
end
if owns_no_more then
    redis.call("SREM", owned_rooms, request.room)
end
if not other then
    announce("left", had_devices and {} or { request.from })
end
if heir then
    redis.call("HSET", members, heir, (redis.call("HGET", members, heir):gsub("^%a+", "owner")))
    redis.call("SADD", owned_rooms_prefix .. without_port(heir), request.room)
    record(heir)
    tell("role_changed", { heir }, here(RANK), "user", heir, "role", "owner")
end
return "done"
