-- Return the owner of a lease where it is another process, for which it is valid; nil where this one
-- may have it. A lease that ends far ahead is from before the server's clock was set back.
local function other_owner(owner, until_ms, token, lease_ms, time_ms)
  local left_ms = (whole(until_ms) or 0) - time_ms
  local is_valid = left_ms > 0 and (lease_ms == 0 or left_ms <= 3 * lease_ms)
  return owner and owner ~= '' and owner ~= token and is_valid and owner or nil
end
