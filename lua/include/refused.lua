-- The field `refused:USER` of a room's hash: a member that may be there and cannot take one message (exchange). It has four
-- words: the id of the first such message, how often it has failed, the id of what is being tried now ("-": nothing; with
-- "?" before it: it has failed, and an `idle` is sent; with "!": that was taken, and it is sent once more), and how many
-- messages lie before that. Gives refused_state, keep_refused.

-- The four, of the field's text; if there is none, the numbers are 0 and the rest is nil.
local function refused_state(text)
    local first, count, trying, number = (text or ""):match("^(%S+) (%d+) (%S+) (%d+)$")
    return first, tonumber(count or 0), trying, tonumber(number or 0)
end

-- After commit.
local function keep_refused(room, user, first, count, trying, number)
    redis.call("HSET", room, "refused:" .. user, table.concat({ first, count, trying, number }, " "))
end
