-- Accepts requests once. Needs recent, older, clock, requests, seen_ms, max_backlog, members_prefix, and of the
-- requests: digests, parts, and first and last, the places in parts of each one's fields and values, the first of
-- them type, from, room. Gives accept.
--
-- The digests of accepted requests are in two sets: new ones go into recent, and every seen_ms recent replaces
-- older. The clock of that is our own. It follows Redis's clock, but advances by at most a second from one script
-- to the next: with a time-to-live, all digests would end at once when Redis's clock is set forward.
--- @include "may_speak"

local call = redis.call -- looked up once: every request passes here
local A_SECOND, A_DAY = 1000, 24 * 3600 * 1000

seen_ms, max_backlog = math.max(1, tonumber(seen_ms)), tonumber(max_backlog)

-- All are looked up before anything is written, and at once: each of many costs less.
local backlog = call("XLEN", requests)
local are_recent = call("SMISMEMBER", recent, unpack(digests))
local are_older = call("SMISMEMBER", older, unpack(digests))
local looked_at, age = unpack(call("HMGET", clock, "at_ms", "age_ms"))

-- The script's first write, if any request is new: Redis refuses it when memory is full, and after it no other.
local function advance_clock()
    local seconds, microseconds = unpack(call("TIME"))
    local now = seconds * 1000 + math.floor(microseconds / 1000)
    age = (tonumber(age) or 0) + math.min(math.max(0, now - (tonumber(looked_at) or now)), A_SECOND)
    local is_due = age >= seen_ms
    call("HSET", clock, "at_ms", now, "age_ms", is_due and 0 or age)
    if is_due then
        call("UNLINK", older)
        if call("EXISTS", recent) == 1 then
            call("RENAME", recent, older)
        end
    end
end

-- A shard without requests keeps nothing.
local function prolong()
    call("PEXPIRE", recent, A_DAY)
    call("PEXPIRE", older, A_DAY)
    call("PEXPIRE", clock, A_DAY)
end

-- The result for an accepted request. With members_prefix, that of a message is the number of its recipients,
-- which its sender is charged; 0 if the sender may not speak. Invited users count until they have answered. A room
-- with a key of a wrong type counts 0: its worker reports the error.
local function result_of(request)
    local kind, from, room = parts[request + 1], parts[request + 3], parts[request + 5]
    if members_prefix == "" or kind ~= "message" then
        return "accepted"
    end
    local members = members_prefix .. room
    local role = redis.pcall("HGET", members, from)
    return type(role) == "string" and may_speak(role) and call("HLEN", members) - 1 or 0
end

-- For a duplicate the digest is removed and added: a write even if nothing changes, so that WAIT and WAITAOF after
-- it cover the first copy too. The removal comes first because Redis accepts it when memory is full.
local function renew(digest)
    call("SREM", older, digest)
    call("SREM", recent, digest)
    call("SADD", recent, digest)
end

local new, place, repeated = {}, {}, {}

-- Decides about the i-th request; writes nothing.
local function judge(i, digest)
    if are_recent[i] == 1 or are_older[i] == 1 then
        repeated[#repeated + 1] = digest
        return "duplicate"
    elseif place[digest] then
        return "duplicate"
    elseif max_backlog > 0 and backlog + #new >= max_backlog then
        return "overloaded"
    end
    new[#new + 1], place[digest] = digest, i
    return result_of(first[i])
end

local function accept()
    local results = {}
    for i = 1, #digests do
        results[i] = judge(i, digests[i])
    end
    if #new > 0 then
        advance_clock()
        for n = 1, #new do
            local i = place[new[n]]
            call("XADD", requests, "*", unpack(parts, first[i], last[i]))
        end
        call("SADD", recent, unpack(new))
    end
    for _, digest in ipairs(repeated) do
        renew(digest)
    end
    if #new + #repeated > 0 then
        prolong()
    end
    return results
end
